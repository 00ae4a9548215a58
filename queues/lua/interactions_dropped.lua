#!lua flags=allow-oom
-- Count calls that were not kept.
--
-- KEYS  1 counters    ARGV  1 how many    Returns all that were not kept so far
return redis.call('HINCRBY', KEYS[1], 'dropped', ARGV[1])
