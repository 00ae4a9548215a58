#!lua flags=allow-oom
-- A worker's beat: renew the heartbeat, return the jobs of workers whose heartbeat ran out, and
-- fill the worker's own inflight list. A worker that died holds its jobs until another one beats;
-- a worker that only slept finds its list empty and reports nothing. The whole inflight list is
-- the answer, so an answer that is lost loses no job: the next beat brings it again.
--
-- KEYS  1 waiting  2 bell  3 workers  4 inflight of this worker
-- ARGV  1 worker  2 heartbeat in ms  3 most jobs in flight
--       4 prefix of the inflight lists (same hash tag)
-- Returns {returned, job, job, ...}: how many jobs of dead workers went back, and whatever is in
-- flight at this worker now, oldest first
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local returned = 0
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now_ms)) do
    if worker ~= ARGV[1] then
        while redis.call('RPOPLPUSH', ARGV[4] .. worker, KEYS[1]) do
            returned = returned + 1
        end
        redis.call('ZREM', KEYS[3], worker)
    end
end
redis.call('ZADD', KEYS[3], now_ms + ARGV[2], ARGV[1])
local room = tonumber(ARGV[3]) - redis.call('LLEN', KEYS[4])
for _, job in ipairs(room > 0 and redis.call('RPOP', KEYS[1], room) or {}) do
    redis.call('LPUSH', KEYS[4], job)
end
local answer = {returned}
local jobs = redis.call('LRANGE', KEYS[4], 0, -1)
for i = #jobs, 1, -1 do
    answer[#answer + 1] = jobs[i]
end
if redis.call('LLEN', KEYS[1]) > 0 and redis.call('LLEN', KEYS[2]) == 0 then
    redis.call('LPUSH', KEYS[2], '1')
end
return answer
