#!lua flags=allow-oom
-- Give the lease back, if it is still ours, so that a standby need not wait for its end.
--
-- KEYS  1 lease    ARGV  1 token    Returns 1 or 0
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
return redis.call('DEL', KEYS[1])
