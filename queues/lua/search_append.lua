#!lua
-- Append a supplier's rates, in chunks, and finish one of its parts with the last chunk. The same
-- chunk twice changes nothing; neither does a chunk for a search that is completed, expired, or past
-- its deadline: what was shown stays as it was shown.
--
-- KEYS  1 entry  2 rates  3 suppliers  4 chunks that came  5 places of the rates
-- ARGV  1 supplier  2 "1" when the last chunk finishes its part  3 error text or ""
--       4 when the search began that was asked for (ms), or "": the one before it had the same key
--       5.. a chunk: its id, how many rates it has, the name of a rate, the rate as JSON, the next
--       name, ...; then the next chunk
-- Returns {"appended", rates so far}, {"repeated"} when all chunks came before, or {"late"}
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local entry = redis.call('HMGET', KEYS[1],
    'is_completed', 'deadline_ms', 'created_ms', 'expires_ms', 'open')
local line = redis.call('HGET', KEYS[3], ARGV[1])
if entry[1] ~= '0' or not line or now_ms >= tonumber(entry[2])
    or ARGV[4] ~= '' and ARGV[4] ~= entry[3] then
    return {'late'}
end
local rates, places = {}, {}
local place = redis.call('LLEN', KEYS[2])
local before = place
local came, last_is_new = 0, false
local function store()
    if #rates > 0 then
        redis.call('RPUSH', KEYS[2], unpack(rates))
        redis.call('HSET', KEYS[5], unpack(places))
        rates, places = {}, {}
    end
end
local i = 5
while i <= #ARGV do
    local after = i + 2 + 2 * tonumber(ARGV[i + 1])
    last_is_new = redis.call('SADD', KEYS[4], ARGV[i]) == 1
    if last_is_new then
        came = came + 1
        for j = i + 2, after - 1, 2 do
            rates[#rates + 1] = ARGV[j + 1]
            places[#places + 1] = ARGV[j]
            places[#places + 1] = place
            place = place + 1
            -- By the thousand: Lua's stack bounds what one call takes.
            if #rates == 1000 then
                store()
            end
        end
    end
    i = after
end
if came == 0 then
    return {'repeated'}
end
store()
line = cjson.decode(line)
line.rates = line.rates + place - before
line.latency_ms = now_ms - tonumber(entry[3])
if ARGV[3] ~= '' then
    line.error = ARGV[3]
end
if ARGV[2] == '1' and last_is_new then
    line.parts_done = line.parts_done + 1
    if line.parts_done == line.parts then
        line.state = (line.error and line.rates == 0) and 'failed' or 'done'
    end
    if redis.call('HINCRBY', KEYS[1], 'open', -1) == 0 then
        redis.call('HSET', KEYS[1], 'is_completed', 1)
    end
end
redis.call('HSET', KEYS[3], ARGV[1], cjson.encode(line))
redis.call('HINCRBY', KEYS[1], 'revision', 1)
for k = 2, 5 do
    redis.call('PEXPIREAT', KEYS[k], entry[4])
end
return {'appended', place}
