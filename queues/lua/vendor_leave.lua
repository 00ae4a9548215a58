#!lua flags=allow-oom
-- Say how a call to a supplier ended, and give its place back.
--
-- KEYS  1 slots  2 gate
-- ARGV  1 holder  2 "ok", "fault", "throttled" or "nothing" (it was not called)
--       3 pause in ms (throttled)  4 failures in a row that close the gate  5 for how long, in ms
-- Returns failures in a row
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREM', KEYS[1], ARGV[1])
local failures = tonumber(redis.call('HGET', KEYS[2], 'failures') or '0')
if ARGV[2] == 'ok' then
    if failures > 0 then
        redis.call('HDEL', KEYS[2], 'failures', 'open_until', 'probe_until')
    end
    return 0
elseif ARGV[2] == 'throttled' then
    -- It answers, so it is not broken; but everybody waits.
    redis.call('HSET', KEYS[2], 'paused_until',
        string.format('%.0f', now_ms + tonumber(ARGV[3])))
    redis.call('HDEL', KEYS[2], 'probe_until')
elseif ARGV[2] == 'fault' then
    failures = redis.call('HINCRBY', KEYS[2], 'failures', 1)
    redis.call('HDEL', KEYS[2], 'probe_until')
    if failures >= tonumber(ARGV[4]) then
        redis.call('HSET', KEYS[2], 'open_until',
            string.format('%.0f', now_ms + tonumber(ARGV[5])))
    end
end
if ARGV[2] == 'nothing' then
    redis.call('HDEL', KEYS[2], 'probe_until')
end
redis.call('PEXPIRE', KEYS[2], 3600000)
return failures
