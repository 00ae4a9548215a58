#!lua flags=allow-oom
-- Give the lease back, if it is still ours, so that a standby need not wait for its end.
--
-- KEYS  1 lease  2 batch (only with a second argument)
-- ARGV  1 token  2 "1" when the batch in flight comes back through no fault of its jobs: the
--                  delivery is not counted then, as little as `take` counts one for an engine's
-- Returns 1 or 0
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
if ARGV[2] == '1' and tonumber(redis.call('HGET', KEYS[2], 'deliveries') or '0') > 0 then
    redis.call('HINCRBY', KEYS[2], 'deliveries', -1)
end
return redis.call('DEL', KEYS[1])
