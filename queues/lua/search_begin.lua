#!lua
-- Read a search, or begin it: however many ask at once, one of them makes the entry and the job.
-- A search that is past its deadline is completed by whoever looks, with what it has.
--
-- KEYS  1 entry  2 rates  3 suppliers  4 jobs  5 bell  6 counters
-- ARGV  1 job  2 deadline after ms  3 life after ms  4 max waiting jobs
--       5 rates already known to the caller  6 "1": do not begin, only read
-- Returns {"entry", now_ms, fields of the entry, suppliers (name, JSON, ...), rates after ARGV 5},
--         {"backlog"} or {"none"}
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
if redis.call('EXISTS', KEYS[1]) == 0 then
    if ARGV[6] == '1' then
        return {'none'}
    end
    local counters = redis.call('HMGET', KEYS[6], 'pushed', 'applied')
    if tonumber(counters[1] or '0') - tonumber(counters[2] or '0') >= tonumber(ARGV[4]) then
        return {'backlog'}
    end
    local expires_ms = now_ms + tonumber(ARGV[3])
    redis.call('DEL', KEYS[2], KEYS[3])
    redis.call('HSET', KEYS[1], 'created_ms', string.format('%d', now_ms),
        'deadline_ms', string.format('%d', now_ms + tonumber(ARGV[2])),
        'expires_ms', string.format('%d', expires_ms),
        'is_completed', 0, 'revision', 1, 'planned', 0, 'open', 0)
    redis.call('PEXPIREAT', KEYS[1], string.format('%d', expires_ms))
    redis.call('LPUSH', KEYS[4], ARGV[1])
    redis.call('HINCRBY', KEYS[6], 'pushed', 1)
    redis.call('HINCRBY', KEYS[6], 'bytes', #ARGV[1])
    if redis.call('LLEN', KEYS[5]) == 0 then
        redis.call('LPUSH', KEYS[5], '1')
    end
elseif redis.call('HGET', KEYS[1], 'is_completed') == '0'
    and now_ms >= tonumber(redis.call('HGET', KEYS[1], 'deadline_ms')) then
    local lines = redis.call('HGETALL', KEYS[3])
    for i = 1, #lines, 2 do
        local line = cjson.decode(lines[i + 1])
        if line.state == 'pending' then
            line.state = 'timed_out'
            redis.call('HSET', KEYS[3], lines[i], cjson.encode(line))
        end
    end
    redis.call('HSET', KEYS[1], 'is_completed', 1)
    redis.call('HINCRBY', KEYS[1], 'revision', 1)
end
return {'entry', now_ms, redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[3]),
    redis.call('LRANGE', KEYS[2], ARGV[5], -1)}
