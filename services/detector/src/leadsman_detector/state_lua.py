"""What runs inside Redis: one script for an exchange of one bucket, one that ends a rebuild, one for the leader's lock.

Nothing newer than Redis 6.2, so Valkey runs them too. All keys of a call carry one hash tag; those that are made here
(the members' bodies, what a quota evicts) carry it as well.
"""

from __future__ import annotations

# Who the server is. Where an account may not ask, or the server does not tell, a fall-back is known by the calls alone.
_RUN_ID = """
local function run_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
end
"""

# Whether bytes sort before others: Lua's own comparison goes by the locale and ends at a NUL.
_IS_BEFORE = """
local function is_before(one, other)
  if one == other then return false end
  local shorter = math.min(#one, #other)
  local n = 1
  while n + 63 <= shorter and string.sub(one, n, n + 63) == string.sub(other, n, n + 63) do n = n + 64 end
  while n <= shorter and string.byte(one, n) == string.byte(other, n) do n = n + 1 end
  return n > shorter and #one < #other or n <= shorter and string.byte(one, n) < string.byte(other, n)
end
"""

# KEYS[1]: the bucket's own record, a hash of
#   epoch       when the state was last known to be whole; it only grows
#   run         the run id of the server that this was true of
#   calls       exchanges since then
#   doubt       the id of a doubt: from its setting until a rebuild ends it, the state answers nobody
#   o:PARTITION the offset up to which the partition's records are in the state, and
#   b:PARTITION where the last batch of them began: it may not have ended, since a batch may take several exchanges
# KEYS[n + 1]: the key of request n.
# ARGV[1] mode: 'N' no questions asked, 'G' guarded, 'R' a rebuild's writes, 'M' set a doubt and tell the record
# ARGV[2..4] the epoch and the calls that the asker saw last, and the id that a doubt found now gets
# ARGV[5] R: the run id it began under
# ARGV[6] the time in ms; ARGV[7] how many partitions follow, each as: partition, first, next, take
#   (take 1: records between are gone for good, so take what comes after them)
# then seven values a request: kind, then
#   P score, name, member, ttl ms, cap, quota   (see Put.keep: also 'L' last, 'F' first, 'B' both ends)
#   R from, to · C rank, holder, ttl ms, told, order · T due, what, ttl ms · U upto, limit · D what
# A holder is one or several names, a NUL between; the first is kept.
# A quota is 0 or a number of groups; the group's registry is then the request's second key, see state_redis.
# Replies: {'doubt', id, lost 0/1} or {'gap', partition, stored} and nothing was written,
#   or {'ok', epoch, calls, members dropped, {request, how many groups it evicted, ...}, {one reply a request},
#   1 where the records may have been here before}; the reply to a Put is 1 where it changed something.
EXCHANGE = (
    _RUN_ID
    + _IS_BEFORE
    + """
local meta, mode = KEYS[1], ARGV[1]
local parts = tonumber(ARGV[7])
local first_request = 7 + parts * 4
local again, epoch, calls = 0, 0, 0
if mode ~= 'N' then
  local run = run_id()
  local m = redis.call('HMGET', meta, 'epoch', 'run', 'calls', 'doubt')
  if mode == 'R' then
    if m[4] ~= ARGV[4] or run ~= ARGV[5] then return {'doubt', m[4] or '', m[1] and 0 or 1} end
  else
    epoch, calls = tonumber(m[1] or 0), tonumber(m[3] or 0)
    local seen_epoch, seen_calls = tonumber(ARGV[2]), tonumber(ARGV[3])
    local doubt = m[4]
    if not doubt and (mode == 'M' or not m[1] or m[2] ~= run or epoch < seen_epoch
        or (epoch == seen_epoch and calls < seen_calls)) then
      doubt = ARGV[4]
      redis.call('HSET', meta, 'doubt', doubt)
    end
    if mode == 'M' then return {'marked', doubt, run, m[1] or '', redis.call('HGETALL', meta)} end
    if doubt then return {'doubt', doubt, m[1] and 0 or 1} end
    for n = 0, parts - 1 do
      local at = 7 + n * 4
      local stored = redis.call('HGET', meta, 'o:' .. ARGV[at + 1])
      if stored then
        local known, from = tonumber(stored), tonumber(ARGV[at + 2])
        if from > known and ARGV[at + 4] == '0' then return {'gap', ARGV[at + 1], stored} end
        if from < known then again = 1 end
      end
    end
  end
end

local now = tonumber(ARGV[6])
local timed = string.sub(meta, 1, -5) .. 'timed'  -- in place of `meta`: the keys of timers that wait
local requests = (#ARGV - first_request) / 7
local replies, dropped, evicted = {}, 0, {}
local key_at, key_of = 2, {}
for i = 1, requests do
  local at = first_request + (i - 1) * 7
  local kind, key = ARGV[at + 1], KEYS[key_at]
  key_of[i] = key
  key_at = key_at + 1
  if kind == 'P' or kind == 'L' or kind == 'F' or kind == 'B' then
    local score, name, member, ttl, cap = ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], tonumber(ARGV[at + 6])
    local how = kind == 'L' and 'GT' or 'LT'
    local id = name ~= '' and name or member
    local changed = redis.call('ZADD', key, how, 'CH', score, id)
    local bodies = key .. '\\0m'
    if name ~= '' then
      if changed == 0 and tonumber(redis.call('ZSCORE', key, name)) == tonumber(score) then
        local body = redis.call('HGET', bodies, name)
        if body and is_before(member, body) then changed = 1 end
      end
      if changed == 1 then redis.call('HSET', bodies, name, member) end
      redis.call('PEXPIRE', bodies, ttl)
    end
    local over = redis.call('ZCARD', key) - cap
    if over > 0 then
      dropped = dropped + over
      local from = 0
      if kind == 'F' then from = cap elseif kind == 'B' then from = math.floor(cap / 2) end
      if name ~= '' then
        for _, out in ipairs(redis.call('ZRANGE', key, from, from + over - 1)) do redis.call('HDEL', bodies, out) end
      end
      redis.call('ZREMRANGEBYRANK', key, from, from + over - 1)
    end
    redis.call('PEXPIRE', key, ttl)
    local quota = tonumber(ARGV[at + 7])
    if quota > 0 then
      local registry = KEYS[key_at]
      key_at = key_at + 1
      if redis.call('ZADD', registry, 'GT', now + tonumber(ttl), key) == 1 then
        if redis.call('ZCARD', registry) > quota then
          redis.call('ZREMRANGEBYSCORE', registry, '-inf', now)
          local much = redis.call('ZCARD', registry) - quota
          if much > 0 then
            local out = redis.call('ZPOPMIN', registry, much)
            for n = 1, #out, 2 do redis.call('UNLINK', out[n], out[n] .. '\\0m') end
            evicted[#evicted + 1] = i
            evicted[#evicted + 1] = much
          end
        end
        redis.call('PEXPIRE', registry, 31 * 86400000)
      end
    end
    replies[i] = changed
  elseif kind == 'T' then
    redis.call('ZADD', key, 'LT', ARGV[at + 2], ARGV[at + 3])
    redis.call('PEXPIRE', key, ARGV[at + 4])
    redis.call('SADD', timed, key)
    redis.call('PEXPIRE', timed, ARGV[at + 4])
    replies[i] = 0
  elseif kind == 'D' then
    redis.call('ZREM', key, ARGV[at + 2])
    if redis.call('EXISTS', key) == 0 then redis.call('SREM', timed, key) end
    replies[i] = 0
  end
end

if mode == 'G' then
  for n = 0, parts - 1 do
    local at = 7 + n * 4
    local field = 'o:' .. ARGV[at + 1]
    local stored = tonumber(redis.call('HGET', meta, field) or -1)
    if tonumber(ARGV[at + 3]) > stored then
      redis.call('HSET', meta, field, ARGV[at + 3], 'b:' .. ARGV[at + 1], ARGV[at + 2])
    end
  end
  calls = redis.call('HINCRBY', meta, 'calls', 1)
end

for i = 1, requests do
  local at = first_request + (i - 1) * 7
  local kind, key = ARGV[at + 1], key_of[i]
  if kind == 'R' then
    local found = redis.call('ZRANGEBYSCORE', key, ARGV[at + 2], ARGV[at + 3])
    if #found > 0 and redis.call('EXISTS', key .. '\\0m') == 1 then
      for n = 1, #found do
        found[n] = redis.call('HGET', key .. '\\0m', found[n]) or found[n]
      end
    end
    replies[i] = found
  elseif kind == 'U' then
    replies[i] = redis.call('ZRANGEBYSCORE', key, '-inf', ARGV[at + 2], 'LIMIT', 0, ARGV[at + 3])
  elseif kind == 'C' then
    local kept = redis.call('HMGET', key, 'rank', 'holder', 'told', 'order')
    local names = '\\0' .. ARGV[at + 3] .. '\\0'
    local rank, told, order = ARGV[at + 2], ARGV[at + 5], ARGV[at + 6]
    local old_told, old_order = kept[3] or '', kept[4] or ''
    local than = kept[1] and tonumber(rank) - tonumber(kept[1])
    local better = not than or than < 0 or (than == 0 and is_before(order, old_order))
    local held = not than or (better and (told == '' or told ~= old_told))
      or (than == 0 and order == old_order and told ~= old_told)
    if held then
      redis.call('HSET', key, 'rank', rank, 'holder', string.match(names, '[^%z]*', 2), 'told', told, 'order', order)
    else
      if better then redis.call('HSET', key, 'rank', rank, 'order', order) end
      held = string.find(names, '\\0' .. kept[2] .. '\\0', 1, true) ~= nil
    end
    if held then redis.call('PEXPIRE', key, ARGV[at + 4]) end
    replies[i] = held and 1 or 0
  end
end
return {'ok', epoch, calls, dropped, evicted, replies, again}
"""
)

# The end of a rebuild: the bucket answers again, if it is still the same doubt and the same server.
# KEYS[1] the record; ARGV: doubt, run id, epoch, then partition, next of each. 1, or 0 where it must begin again.
FINISH = (
    _RUN_ID
    + """
local run = run_id()
if redis.call('HGET', KEYS[1], 'doubt') ~= ARGV[1] or run ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'run', run, 'calls', 0)
for n = 4, #ARGV, 2 do redis.call('HSET', KEYS[1], 'o:' .. ARGV[n], ARGV[n + 1]) end
return 1
"""
)

# Take or keep the lock KEYS[1] as ARGV[1] for ARGV[2] ms: 1 where it is ours.
LOCK = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# How far sources have come: KEYS[1] a hash of place -> "time since"; ARGV: now, then place, time of each. Gives all.
PROGRESS = """
for n = 2, #ARGV, 2 do
  local kept = redis.call('HGET', KEYS[1], ARGV[n])
  if not kept or tonumber(string.match(kept, '^(-?%d+)')) < tonumber(ARGV[n + 1]) then
    redis.call('HSET', KEYS[1], ARGV[n], ARGV[n + 1] .. ' ' .. ARGV[1])
  end
end
redis.call('PEXPIRE', KEYS[1], 31 * 86400000)
return redis.call('HGETALL', KEYS[1])
"""
