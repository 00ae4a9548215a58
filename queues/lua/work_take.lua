#!lua flags=allow-oom
-- A worker's beat: renew the heartbeat, return the jobs of workers whose heartbeat ran out, and
-- fill the worker's own inflight list. A worker that died holds its jobs until another one beats;
-- a worker that only slept finds its list empty and reports nothing. The whole inflight list is
-- the answer, so an answer that is lost loses no job: the next beat brings it again.
--
-- Each death is counted for every job that the dead worker held. One that came back often enough
-- is taken alone: a worker takes it when it has nothing else, and nothing beside it. So a job that
-- kills its worker is found out, and takes no other job down with it for long.
--
-- KEYS  1 waiting  2 bell  3 workers  4 inflight of this worker  5 deaths
-- ARGV  1 worker  2 heartbeat in ms  3 most jobs in flight
--       4 prefix of the inflight lists (same hash tag)  5 deaths after which a job goes alone
-- Returns {returned, deaths, job, job, ...}: how many jobs of dead workers went back, how many died
-- with the job that is alone here (0: none is), and whatever is in flight at this worker now,
-- oldest first
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local returned = 0
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now_ms)) do
    if worker ~= ARGV[1] then
        local job = redis.call('RPOPLPUSH', ARGV[4] .. worker, KEYS[1])
        while job do
            redis.call('HINCRBY', KEYS[5], job, 1)
            returned = returned + 1
            job = redis.call('RPOPLPUSH', ARGV[4] .. worker, KEYS[1])
        end
        redis.call('ZREM', KEYS[3], worker)
    end
end
redis.call('ZADD', KEYS[3], now_ms + ARGV[2], ARGV[1])

local suspects = redis.call('EXISTS', KEYS[5]) == 1
local function deaths(job)
    local count = suspects and tonumber(redis.call('HGET', KEYS[5], job) or '0') or 0
    return count >= tonumber(ARGV[5]) and count or 0
end

local held = redis.call('LRANGE', KEYS[4], 0, -1)
local alone = #held == 1 and deaths(held[1]) or 0
local room = alone > 0 and 0 or tonumber(ARGV[3]) - #held
local waits_for_room = false
while room > 0 do
    -- All at once, while nobody died.
    local jobs = redis.call('RPOP', KEYS[1], suspects and 1 or room) or {}
    for _, job in ipairs(jobs) do
        if deaths(job) == 0 then
            redis.call('LPUSH', KEYS[4], job)
        elseif redis.call('LLEN', KEYS[4]) == 0 then
            redis.call('LPUSH', KEYS[4], job)
            alone, room = deaths(job), 0
        else
            redis.call('RPUSH', KEYS[1], job)
            waits_for_room, room = true, 0
        end
    end
    room = (suspects and #jobs > 0) and room - 1 or 0
end
local answer = {returned, alone}
local jobs = redis.call('LRANGE', KEYS[4], 0, -1)
for i = #jobs, 1, -1 do
    answer[#answer + 1] = jobs[i]
end
-- A worker that has to be free of others first would be woken for nothing; it looks at each beat.
if alone == 0 and not waits_for_room and redis.call('LLEN', KEYS[1]) > 0
    and redis.call('LLEN', KEYS[2]) == 0 then
    redis.call('LPUSH', KEYS[2], '1')
end
return answer
