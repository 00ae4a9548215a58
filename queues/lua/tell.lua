#!lua flags=allow-oom
-- Tell the outcome of a batch and forget it. It runs only for the holder of the lease and the
-- oldest batch in flight: a delayed or repeated call does nothing. A crash before this line
-- brings the batch back; a crash after it finds nothing left to do.
--
-- KEYS  1 lease  2 batch  3 inflight  4 counters  5 jobs  6 bell  7 reservations
--       8 bell of the reservations  9 packages  10 doors  11 dead letters  12 pressure
-- ARGV  1 token  2 number  3 lease in ms  4 prefix of the status keys (same hash tag)
--       5 ttl of a final status in ms  6 jobs in the batch  7 their bytes  8 msgpack of
--         {statuses: [[order, state, reason, final]], reservations: [job], commands: [job],
--          packages: [[id, json, door]], gone: [id], dead: [letter], pressure: text or "",
--          pressure_ms: how long it holds}
-- Returns {"told", waiting jobs} or {"stale"}
if redis.call('GET', KEYS[1]) ~= ARGV[1]
    or redis.call('HGET', KEYS[2], 'oldest') ~= ARGV[2] then
    return {'stale'}
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local told = cmsgpack.unpack(ARGV[8])
for _, status in ipairs(told.statuses) do
    local key = ARGV[4] .. status[1]
    -- Every status has a state: one that gets its first by this was forgotten, and stays so.
    if redis.call('HSET', key, 'state', status[2]) == 1 then
        redis.call('DEL', key)
    else
        if status[3] ~= '' then
            redis.call('HSET', key, 'reason', status[3])
        end
        if status[4] then
            redis.call('PEXPIRE', key, ARGV[5])
        end
    end
end
if #told.reservations > 0 then
    -- By the thousand: Lua's stack bounds what one call takes.
    for first = 1, #told.reservations, 1000 do
        local last = math.min(first + 999, #told.reservations)
        redis.call('LPUSH', KEYS[7], unpack(told.reservations, first, last))
    end
    if redis.call('LLEN', KEYS[8]) == 0 then
        redis.call('LPUSH', KEYS[8], '1')
    end
end
for _, package in ipairs(told.packages) do
    redis.call('HSET', KEYS[9], package[1], package[2])
    redis.call('HSET', KEYS[10], package[1], package[3])
end
for _, id in ipairs(told.gone) do
    redis.call('HDEL', KEYS[9], id)
    redis.call('HDEL', KEYS[10], id)
end
for _, letter in ipairs(told.dead) do
    redis.call('LPUSH', KEYS[11], letter)
end
if told.pressure ~= '' then
    redis.call('SET', KEYS[12], told.pressure, 'PX', told.pressure_ms)
end
local done = tonumber(ARGV[6])
local bytes = tonumber(ARGV[7])
redis.call('LTRIM', KEYS[3], done, -1)
redis.call('HSET', KEYS[2], 'oldest', tonumber(ARGV[2]) + 1, 'deliveries', 1)
for _, job in ipairs(told.commands) do
    redis.call('LPUSH', KEYS[5], job)
    bytes = bytes - #job
end
local pushed = redis.call('HINCRBY', KEYS[4], 'pushed', #told.commands)
local applied = redis.call('HINCRBY', KEYS[4], 'applied', done)
redis.call('HINCRBY', KEYS[4], 'bytes', 0 - bytes)  -- -bytes would be "-0" in some servers
if redis.call('LLEN', KEYS[5]) > 0 and redis.call('LLEN', KEYS[6]) == 0 then
    redis.call('LPUSH', KEYS[6], '1')
end
return {'told', pushed - applied}
