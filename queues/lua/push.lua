#!lua flags=allow-oom
-- Push jobs that are not orders: reports, expiries, cancellations, retried dead letters.
-- Allowed at the memory limit, because what they carry is needed to free memory.
--
-- KEYS  1 jobs  2 bell  3 counters  4 pressure (only for jobs that dead letters keep out)
-- ARGV  1 max waiting jobs (0: never refused)  2.. the jobs, oldest first
-- Returns the number of waiting jobs, or -1 when refused.
local counters = redis.call('HMGET', KEYS[3], 'pushed', 'applied')
local waiting = tonumber(counters[1] or '0') - tonumber(counters[2] or '0')
if tonumber(ARGV[1]) > 0 and waiting >= tonumber(ARGV[1]) then
    return -1
end
if KEYS[4] and redis.call('GET', KEYS[4]) == 'dead letters' then
    return -1
end
local bytes = 0
for i = 2, #ARGV do
    redis.call('LPUSH', KEYS[1], ARGV[i])
    bytes = bytes + #ARGV[i]
end
redis.call('HINCRBY', KEYS[3], 'pushed', #ARGV - 1)
redis.call('HINCRBY', KEYS[3], 'bytes', bytes)
if redis.call('LLEN', KEYS[2]) == 0 then
    redis.call('LPUSH', KEYS[2], '1')
end
return waiting + #ARGV - 1
