#!lua flags=allow-oom
-- Keep the lease for another while, if it is still ours. Repeating it is harmless.
--
-- KEYS  1 lease    ARGV  1 token  2 lease in ms    Returns 1 or 0
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
