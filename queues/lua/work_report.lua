#!lua flags=allow-oom
-- Acknowledge a job and push its report, in one step: a crash before it brings the job back, a
-- crash after it finds it done. When the job is no longer in this worker's list, somebody took it
-- for dead and another worker reports: nothing is pushed.
--
-- KEYS  1 inflight of this worker  2 jobs  3 bell  4 counters  5 dead letters  6 deaths
-- ARGV  1 job  2 report or ""  3 dead letter or ""
--       4 letters from which this one is left out, and counted (0: it never is)
-- Returns 1, or 0 when the job was no longer ours
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then
    return 0
end
redis.call('HDEL', KEYS[6], ARGV[1])
if ARGV[3] ~= '' then
    if tonumber(ARGV[4]) > 0 and redis.call('LLEN', KEYS[5]) >= tonumber(ARGV[4]) then
        redis.call('HINCRBY', KEYS[4], 'letters_gone', 1)
    else
        redis.call('LPUSH', KEYS[5], ARGV[3])
    end
end
if ARGV[2] ~= '' then
    redis.call('LPUSH', KEYS[2], ARGV[2])
    redis.call('HINCRBY', KEYS[4], 'pushed', 1)
    redis.call('HINCRBY', KEYS[4], 'bytes', #ARGV[2])
    if redis.call('LLEN', KEYS[3]) == 0 then
        redis.call('LPUSH', KEYS[3], '1')
    end
end
return 1
