#!lua flags=allow-oom
-- Take a batch. Jobs move to `inflight` in the same step, so a crash after this line loses
-- nothing: the next take, by whoever holds the lease then, returns the same jobs. Every take has
-- a number of its own, so a `tell` that was delayed past another take does nothing.
--
-- While the holder writes one batch and decides the next, it may take one behind both (ARGV 7 names
-- the batch that it took last). At most three are in flight, in order; all of them come back
-- together after a crash.
--
-- A batch that keeps coming back goes job by job: all but its oldest job return to the right end
-- of `jobs`, in order, and `singles` counts how many are to be taken alone.
--
-- KEYS  1 lease  2 jobs  3 inflight  4 batch  5 counters
-- ARGV  1 token  2 lease in ms  3 most jobs  4 deliveries after which it goes job by job
--       5 "1" when the last try failed for an engine that was away: it is not counted
--       6 "1" when the batch is to go job by job at once
--       7 number of the batch to take behind, or "0": give back whatever is in flight
-- Returns {"lost"}, {"stale"} or {"ok", number, deliveries, now_ms, pushed, applied, job, ...}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return {'lost'}
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)

local function take_new(most)
    local jobs = redis.call('RPOP', KEYS[2], most) or {}
    if #jobs > 0 then
        redis.call('RPUSH', KEYS[3], unpack(jobs))
    end
    return jobs
end

local jobs
local deliveries = 1
if ARGV[7] ~= '0' then
    -- Only behind the batch taken last, one of two in flight at most: a late repetition of this
    -- call finds another number and does nothing.
    local batch = redis.call('HMGET', KEYS[4], 'number', 'oldest', 'singles')
    local in_flight = tonumber(batch[1] or '0') - tonumber(batch[2] or '0') + 1
    if batch[1] ~= ARGV[7] or in_flight < 1 or in_flight > 2
        or tonumber(batch[3] or '0') > 0 then
        return {'stale'}
    end
    jobs = take_new(ARGV[3])
else
    jobs = redis.call('LRANGE', KEYS[3], 0, -1)
    if #jobs > 0 then
        deliveries = redis.call('HINCRBY', KEYS[4], 'deliveries', 1 - tonumber(ARGV[5]))
        if #jobs > 1 and (deliveries >= tonumber(ARGV[4]) or ARGV[6] == '1') then
            for _ = 2, #jobs do
                redis.call('RPUSH', KEYS[2], redis.call('RPOP', KEYS[3]))
            end
            redis.call('HINCRBY', KEYS[4], 'singles', #jobs - 1)
            redis.call('HSET', KEYS[4], 'deliveries', 1)
            deliveries = 1
            jobs = {jobs[1]}
        end
    else
        local most = ARGV[3]
        if tonumber(redis.call('HGET', KEYS[4], 'singles') or '0') > 0 then
            most = 1
            redis.call('HINCRBY', KEYS[4], 'singles', -1)
        end
        jobs = take_new(most)
        if #jobs == 0 then
            -- Nothing waits and nothing is in flight: whatever the counters say, nothing is left.
            local pushed = redis.call('HGET', KEYS[5], 'pushed') or '0'
            redis.call('HSET', KEYS[5], 'applied', pushed, 'bytes', 0)
            redis.call('HSET', KEYS[4], 'singles', 0)
        end
        redis.call('HSET', KEYS[4], 'deliveries', 1)
    end
end
local number = redis.call('HINCRBY', KEYS[4], 'number', 1)
if ARGV[7] == '0' then
    redis.call('HSET', KEYS[4], 'oldest', number)
end
local counters = redis.call('HMGET', KEYS[5], 'pushed', 'applied')
local answer = {'ok', number, deliveries, now_ms,
    tonumber(counters[1] or '0'), tonumber(counters[2] or '0')}
for i = 1, #jobs do
    answer[6 + i] = jobs[i]
end
return answer
