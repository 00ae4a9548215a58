#!lua
-- Write finished hotels, and take away those that are gone. Everything is checked before the first
-- write: the lease, the generation, how many changes were told in it, and that no hotel was
-- written or taken away at a later version before. So a call that was delayed, or a writer that
-- slept, puts no old page back and takes no newer one away.
--
-- A writer that holds the lease and meets a later version has read documents from before those that
-- are shown: MongoDB's time went back, as it may when a primary is lost. Then all is to be
-- built anew.
--
-- The resume token moves in the same call as the last pages of a batch: a crash before brings
-- the batch again, and pages that did not change are told to nobody.
--
-- KEYS  1 lease  2 state  3 changes  4 rows  5 cards  6 briefs  7 slugs  8 broken  9 gone
--       10... each hotel
-- ARGV  1 token of the lease  2 lease in ms  3 generation
--       4 changes told so far, as the writer believes; empty: the generation is not shown yet
--       5 resume token; empty: it stays  6 how many changes are kept
--       7... per hotel eleven: id, version, slug, etag, page, its size, json, its size, card,
--       brief, row. Without a row the hotel is gone; its slug then says why, if it is broken
-- Returns {"ok", changes told} or {"lost"} or {"moved"} or {"older", hotel id}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return {'lost'}
end
local found = redis.call('HMGET', KEYS[2], 'generation', 'seq', 'building')
local shown = ARGV[4] ~= ''
if shown and (found[1] ~= ARGV[3] or found[2] ~= ARGV[4])
    or not shown and found[3] ~= ARGV[3] then
    return {'moved'}
end
for number = 0, #KEYS - 10 do
    local id, version = ARGV[7 + number * 11], ARGV[8 + number * 11]
    local known = redis.call('HGET', KEYS[10 + number], 'version')
        or redis.call('HGET', KEYS[9], id)
    if known and known > version then
        return {'older', id}
    end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local seq = tonumber(found[2]) or 0

local function tell(id, row)
    if shown then
        seq = seq + 1
        redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6],
            ARGV[3] .. '-' .. string.format('%.0f', seq), 'id', id, 'row', row)
    end
end

local function free_slug(id, slug)
    if slug and redis.call('HGET', KEYS[7], slug) == id then
        redis.call('HDEL', KEYS[7], slug)
    end
end

-- Slugs go before they come: two hotels may have changed theirs in one batch.
for number = 0, #KEYS - 10 do
    local at = 7 + number * 11
    local before = redis.call('HGET', KEYS[10 + number], 'slug')
    if before and (before ~= ARGV[at + 2] or ARGV[at + 10] == '') then
        free_slug(ARGV[at], before)
    end
end
for number = 0, #KEYS - 10 do
    local key, at = KEYS[10 + number], 7 + number * 11
    local id, version, slug, etag, row = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3],
        ARGV[at + 10]
    local before = redis.call('HMGET', key, 'version', 'etag')
    if row == '' then
        if slug ~= '' then
            redis.call('HSET', KEYS[8], id, slug)
        else
            redis.call('HDEL', KEYS[8], id)
        end
        redis.call('HSET', KEYS[9], id, version)
        if before[1] then
            redis.call('DEL', key)
            for name = 4, 6 do
                redis.call('HDEL', KEYS[name], id)
            end
            tell(id, '')
        end
    else
        redis.call('HSET', KEYS[7], slug, id)
        redis.call('HDEL', KEYS[8], id)
        redis.call('HDEL', KEYS[9], id)
        if before[2] == etag then
            redis.call('HSET', key, 'version', version)
        else
            redis.call('HSET', key, 'version', version, 'slug', slug, 'etag', etag,
                'page', ARGV[at + 4], 'page_size', ARGV[at + 5],
                'json', ARGV[at + 6], 'json_size', ARGV[at + 7])
            redis.call('HSET', KEYS[5], id, ARGV[at + 8])
            redis.call('HSET', KEYS[6], id, ARGV[at + 9])
            redis.call('HSET', KEYS[4], id, row)
            tell(id, row)
        end
    end
end
if shown then
    redis.call('HSET', KEYS[2], 'seq', string.format('%.0f', seq))
    if ARGV[5] ~= '' then
        redis.call('HSET', KEYS[2], 'token', ARGV[5])
    end
end
return {'ok', seq}
