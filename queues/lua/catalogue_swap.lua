#!lua flags=allow-oom
-- Show the generation that was built, from one moment to the next, and leave the one before to be
-- removed. The resume token is from before its documents were read: what changed since comes
-- again.
--
-- KEYS  1 lease  2 state  3 changes  4 old
-- ARGV  1 token of the lease  2 lease in ms  3 generation  4 resume token  5 version of the payloads
--       6 the day that it was built for  7 how many changes are kept
-- Returns {"ok"} or {"lost"} or {"moved"}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return {'lost'}
end
local found = redis.call('HMGET', KEYS[2], 'building', 'generation')
if found[1] ~= ARGV[3] then
    return {'moved'}
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if found[2] then
    redis.call('RPUSH', KEYS[4], found[2])
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'generation', ARGV[3], 'seq', '0', 'token', ARGV[4],
    'version', ARGV[5], 'day', ARGV[6],
    'built_ms', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
redis.call('HDEL', KEYS[2], 'building')
-- A stream that came back from an older copy may be ahead of us; it is of no use then.
local added = redis.pcall('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], ARGV[3] .. '-0', 'id', '', 'row', '')
if type(added) == 'table' and added.err then
    redis.call('DEL', KEYS[3])
    redis.call('XADD', KEYS[3], ARGV[3] .. '-0', 'id', '', 'row', '')
end
return {'ok'}
