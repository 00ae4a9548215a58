#!lua flags=allow-oom
-- Take the lease when nobody holds it. A lost answer leaves a lease that nobody uses: it runs
-- out by itself.
--
-- KEYS  1 lease  2 epoch
-- ARGV  1 consumer  2 lease in ms
-- Returns {1, token} or {0, token of the holder}
local holder = redis.call('GET', KEYS[1])
if holder then
    return {0, holder}
end
local token = ARGV[1] .. ':' .. redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token, 'PX', ARGV[2])
return {1, token}
