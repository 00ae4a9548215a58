#!lua flags=allow-oom
-- Forget a batch that is done, on a road that has nothing else to tell. For the lease holder and
-- the oldest batch in flight only; see tell.lua.
--
-- KEYS  1 lease  2 batch  3 inflight  4 counters
-- ARGV  1 token  2 number  3 lease in ms  4 jobs in the batch  5 their bytes
-- Returns {"told", waiting jobs} or {"stale"}
if redis.call('GET', KEYS[1]) ~= ARGV[1]
    or redis.call('HGET', KEYS[2], 'oldest') ~= ARGV[2] then
    return {'stale'}
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('LTRIM', KEYS[3], ARGV[4], -1)
redis.call('HSET', KEYS[2], 'oldest', tonumber(ARGV[2]) + 1, 'deliveries', 1)
local applied = redis.call('HINCRBY', KEYS[4], 'applied', ARGV[4])
redis.call('HINCRBY', KEYS[4], 'bytes', -tonumber(ARGV[5]))
return {'told', tonumber(redis.call('HGET', KEYS[4], 'pushed') or '0') - applied}
