#!lua
-- Begin a search: however many ask at once, one of them makes the entry and the job.
--
-- KEYS  1 entry  2 rates  3 suppliers  4 chunks  5 jobs  6 bell  7 counters
--       8 places of the rates
-- ARGV  1 job; the entry keeps it, for it says which stay its rates are for
--       2 deadline after ms  3 life after ms  4 max waiting jobs
-- Returns "begun", "there" when somebody has begun it before, or "backlog"
if redis.call('EXISTS', KEYS[1]) == 1 then
    return 'there'
end
local counters = redis.call('HMGET', KEYS[7], 'pushed', 'applied')
if tonumber(counters[1] or '0') - tonumber(counters[2] or '0') >= tonumber(ARGV[4]) then
    return 'backlog'
end
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local expires_ms = string.format('%d', now_ms + tonumber(ARGV[3]))
-- What the search before this one brought goes with its entry; should a clock have been set back,
-- it must not be taken for this one's.
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[8])
redis.call('HSET', KEYS[1], 'created_ms', string.format('%d', now_ms),
    'deadline_ms', string.format('%d', now_ms + tonumber(ARGV[2])), 'expires_ms', expires_ms,
    'is_completed', 0, 'revision', 1, 'planned', 0, 'open', 0, 'job', ARGV[1])
redis.call('PEXPIREAT', KEYS[1], expires_ms)
redis.call('LPUSH', KEYS[5], ARGV[1])
redis.call('HINCRBY', KEYS[7], 'pushed', 1)
redis.call('HINCRBY', KEYS[7], 'bytes', #ARGV[1])
if redis.call('LLEN', KEYS[6]) == 0 then
    redis.call('LPUSH', KEYS[6], '1')
end
return 'begun'
