#!lua flags=allow-oom
-- A worker leaves in good order: whatever it still holds goes back, oldest first out.
--
-- KEYS  1 waiting  2 bell  3 workers  4 inflight of this worker    ARGV  1 worker
-- Returns how many jobs went back
local returned = 0
while true do
    -- The newest is at the left of inflight; the oldest must end at the right of waiting.
    local job = redis.call('LPOP', KEYS[4])
    if not job then
        break
    end
    redis.call('RPUSH', KEYS[1], job)
    returned = returned + 1
end
redis.call('ZREM', KEYS[3], ARGV[1])
if returned > 0 and redis.call('LLEN', KEYS[2]) == 0 then
    redis.call('LPUSH', KEYS[2], '1')
end
return returned
