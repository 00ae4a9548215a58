#!lua flags=allow-oom
-- Move one dead letter back to the list that it came from.
--
-- KEYS  1 dead letters  2 list it goes to  3 bell of that list  4 counters
-- ARGV  1 the letter as it stands in the list  2 the job in it
--       3 "1" when the list is the one whose backlog the counters count
-- Returns 1, or 0 when the letter is no longer there
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then
    return 0
end
redis.call('LPUSH', KEYS[2], ARGV[2])
if ARGV[3] == '1' then
    redis.call('HINCRBY', KEYS[4], 'pushed', 1)
    redis.call('HINCRBY', KEYS[4], 'bytes', #ARGV[2])
end
if redis.call('LLEN', KEYS[3]) == 0 then
    redis.call('LPUSH', KEYS[3], '1')
end
return 1
