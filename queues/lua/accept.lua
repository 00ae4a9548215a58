#!lua
-- Accept one order: everything the door asks for, in one call. It may be refused at the memory
-- limit of Valkey; nothing has been written then.
--
-- KEYS  1 jobs  2 bell  3 counters  4 status of the order  5 doors  6 pressure
--       7 idempotency (only with a key)
-- ARGV  1 order id  2 package id  3 the job without its last member `"accepted_ms":N}`
--       4 e-mail  5 hash of the body  6 idempotency ttl in ms  7 max jobs  8 max bytes
--       9 the rate as its customer sees it, JSON; the package id is empty then
-- Returns one of
--   {"queued", order id, place, accepted_ms}   {"replayed", order id}   {"conflict"}
--   {"no_packages"}   {"unknown_package"}   {"sales_closed", starts_ms, ends_ms}
--   {"backlog"}   {"pressure", why}
if KEYS[7] then
    local seen = redis.call('GET', KEYS[7])
    if seen then
        local order, body = string.match(seen, '^(%S+) (%S+)$')
        if body == ARGV[5] then
            return {'replayed', order}
        end
        return {'conflict'}
    end
end
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
if ARGV[2] ~= '' then
    local door = redis.call('HGET', KEYS[5], ARGV[2])
    if not door then
        if redis.call('EXISTS', KEYS[5]) == 0 then
            return {'no_packages'}
        end
        return {'unknown_package'}
    end
    local starts, ends = string.match(door, '^(%d+) (%d+)$')
    if not starts then
        return {'sales_closed', '0', '0'}
    end
    if now_ms < tonumber(starts) or now_ms >= tonumber(ends) then
        return {'sales_closed', starts, ends}
    end
end
local pressure = redis.call('GET', KEYS[6])
if pressure then
    return {'pressure', pressure}
end
local counters = redis.call('HMGET', KEYS[3], 'pushed', 'applied', 'bytes')
local pushed = tonumber(counters[1] or '0')
local waiting = pushed - tonumber(counters[2] or '0')
local job = ARGV[3] .. '"accepted_ms":' .. string.format('%d', now_ms) .. '}'
if waiting >= tonumber(ARGV[7]) or tonumber(counters[3] or '0') + #job > tonumber(ARGV[8]) then
    return {'backlog'}
end
redis.call('HSET', KEYS[4], 'state', 'queued', 'email', ARGV[4], 'package_id', ARGV[2],
    'seq', pushed + 1, 'accepted_ms', string.format('%d', now_ms))
if ARGV[9] ~= '' then
    redis.call('HSET', KEYS[4], 'rate', ARGV[9])
end
redis.call('LPUSH', KEYS[1], job)
redis.call('HINCRBY', KEYS[3], 'pushed', 1)
redis.call('HINCRBY', KEYS[3], 'bytes', #job)
if KEYS[7] then
    redis.call('SET', KEYS[7], ARGV[1] .. ' ' .. ARGV[5], 'PX', ARGV[6])
end
if redis.call('LLEN', KEYS[2]) == 0 then
    redis.call('LPUSH', KEYS[2], '1')
end
return {'queued', ARGV[1], waiting + 1, now_ms}
