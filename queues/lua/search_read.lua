#!lua flags=allow-oom
-- Read a search. One that is past its deadline is completed by whoever looks, with what it has:
-- nothing but that is written here, so it may run at the memory limit.
--
-- KEYS  1 entry  2 rates  3 suppliers
-- ARGV  1 rates already known to the caller  2 when the search began that they belong to (ms), or
--       ""  3 `<when it began> <revision>` already known, or ""
-- Returns {fields of the entry}; unless it is still as it is known, also suppliers (name, JSON,
--         ...) and the rates after ARGV 1; {} when there is no such search (any more)
local created_ms = redis.call('HGET', KEYS[1], 'created_ms')
if not created_ms or (ARGV[2] ~= '' and ARGV[2] ~= created_ms) then
    return {}
end
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
if redis.call('HGET', KEYS[1], 'is_completed') == '0'
    and now_ms >= tonumber(redis.call('HGET', KEYS[1], 'deadline_ms')) then
    local lines = redis.call('HGETALL', KEYS[3])
    for i = 1, #lines, 2 do
        local line = cjson.decode(lines[i + 1])
        if line.state == 'pending' then
            line.state = 'timed_out'
            redis.call('HSET', KEYS[3], lines[i], cjson.encode(line))
        end
    end
    redis.call('HSET', KEYS[1], 'is_completed', 1)
    redis.call('HINCRBY', KEYS[1], 'revision', 1)
end
local fields = redis.call('HGETALL', KEYS[1])
if ARGV[3] == created_ms .. ' ' .. redis.call('HGET', KEYS[1], 'revision') then
    return {fields}
end
return {fields, redis.call('HGETALL', KEYS[3]), redis.call('LRANGE', KEYS[2], ARGV[1], -1)}
