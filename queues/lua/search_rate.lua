#!lua flags=no-writes
-- One rate of a search, by its name within it, with what the search was for.
--
-- KEYS  1 entry  2 rates  3 places of the rates    ARGV  1 name of the rate
-- Returns {"rate", expires_ms, job of the search, rate as JSON}, {"unknown"} or {"none"}: there is
--         no such search, or not any more
local entry = redis.call('HMGET', KEYS[1], 'expires_ms', 'job')
if not entry[1] or not entry[2] then
    return {'none'}
end
local place = redis.call('HGET', KEYS[3], ARGV[1])
local rate = place and redis.call('LINDEX', KEYS[2], place)
if not rate then
    return {'unknown'}
end
return {'rate', entry[1], entry[2], rate}
