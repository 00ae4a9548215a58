#!lua
-- Push calls for the log, as long as few enough wait; refused at the memory limit, where new searches
-- are refused too: a log is the first thing to do without.
--
-- KEYS  1 jobs  2 bell  3 counters
-- ARGV  1 most waiting  2 most bytes waiting  3 calls that were dropped before  4.. the calls
-- Returns 1 pushed, 0 not: then these are counted as dropped, too
local counters = redis.call('HMGET', KEYS[3], 'pushed', 'applied', 'bytes')
local waiting = tonumber(counters[1] or '0') - tonumber(counters[2] or '0')
local bytes, count = 0, #ARGV - 3
for i = 4, #ARGV do
    bytes = bytes + #ARGV[i]
end
if waiting + count > tonumber(ARGV[1])
    or tonumber(counters[3] or '0') + bytes > tonumber(ARGV[2]) then
    redis.call('HINCRBY', KEYS[3], 'dropped', ARGV[3] + count)
    return 0
end
for i = 4, #ARGV do
    redis.call('LPUSH', KEYS[1], ARGV[i])
end
redis.call('HINCRBY', KEYS[3], 'pushed', count)
redis.call('HINCRBY', KEYS[3], 'bytes', bytes)
redis.call('HINCRBY', KEYS[3], 'dropped', ARGV[3])
if redis.call('LLEN', KEYS[2]) == 0 then
    redis.call('LPUSH', KEYS[2], '1')
end
return 1
