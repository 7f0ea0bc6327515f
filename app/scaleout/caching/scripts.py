"""The Lua scripts of the second level. `shared.py` explains the clock, the tags and the times.

The comment above each script names its keys, its arguments and its result.
"""

from __future__ import annotations

_CLOCK = """
local clock = redis.call('GET', KEYS[1])
local node = @NODE@
if clock and node ~= '' and not string.find(clock, node .. ':', 1, true) then clock = nil end
local epoch, number, last = nil, 0, 0
if clock then
  local name, n, l = string.match(clock, '^([^:]+):(%d+):(%d+)$')
  if name then epoch, number, last = name, tonumber(n), tonumber(l) end
end
local function now() return epoch .. ':' .. string.format('%.0f', number) end
local function tick() number = number + 1 end
local function save() redis.call('SET', KEYS[1], now() .. ':' .. string.format('%.0f', last)) end
local function missing(first)
  local found = {}
  for i = first, #KEYS do
    local time = redis.call('GET', KEYS[i])
    if not time or string.match(time, '^[^:]+') ~= epoch then found[#found + 1] = KEYS[i] end
  end
  return found
end
local function make(names, seconds)
  -- At a time of its own: else an old value with the tag would be right again.
  if #names > 0 then tick() save() end
  for _, name in ipairs(names) do redis.call('SET', name, now(), 'EX', seconds) end
end
"""
_ENSURE = "if not epoch then epoch = ARGV[1] .. '-' .. redis.call('TIME')[1] .. '-' .. node save() end"
# clock, token, tags… / name of a new clock, seconds of a tag, the newest token, seconds that a
# clock is new: returns a unique time, and the state that a computation must have read.
BEGIN = f"""{_CLOCK}{_ENSURE}
make(missing(3), ARGV[2])
tick() save()
local born = tonumber(string.match(epoch, '%-(%d+)%-'))
local young = born and redis.call('TIME')[1] - born < tonumber(ARGV[4])
return {{now(), young and ARGV[3] or redis.call('GET', KEYS[2])}}
"""
# clock, tags… / seconds of a tag, time of the value: returns the time for the value, or nothing if
# it is wrong. Without any invalidation since its beginning it is right, and as good as one that
# begins now. Otherwise its tags decide; a missing one may have been evicted after an invalidation.
SETTLE = f"""{_CLOCK}
local mine, n = string.match(ARGV[2], '^([^:]+):(%d+)$')
if mine ~= epoch then return false end
local gone = missing(2)
make(gone, ARGV[1])
if last <= tonumber(n) then return now() end
if #gone > 0 then return false end
for i = 2, #KEYS do
  if tonumber(string.match(redis.call('GET', KEYS[i]), '%d+$')) > tonumber(n) then return false end
end
return ARGV[2]
"""
# clock, tags… : returns what MGET of the tags returns, after the clock's own name; nothing without
# a clock.
TIMES = f"""{_CLOCK}
if not epoch then return {{}} end
return {{epoch .. ':0', unpack(redis.call('MGET', unpack(KEYS, 2)))}}
"""
# value / time of its beginning, bytes, milliseconds: stored unless a value with a later beginning
# exists.
PUT = """
local epoch, n = string.match(redis.call('GETRANGE', KEYS[1], 0, 199), '^([^: ]+):%d+ (%d+) ')
local mine, m = string.match(ARGV[1], '^([^:]+):(%d+)$')
if epoch == mine and tonumber(n) > tonumber(m) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
# clock, tags… / name of a new clock, seconds: none of the tags lives longer. A missing one is
# created: else a reader that still sees the old state would create it, with the full time of a tag.
FOREWARN = f"""{_CLOCK}{_ENSURE}
for i = 2, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[2] * 1000, 'LT') end
make(missing(2), ARGV[2])
"""
# lock / owner
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
# clock, token, tags… / name of a new clock, token, its seconds, channel, message
INVALIDATE = f"""{_CLOCK}{_ENSURE}
tick()
last = number
save()
for i = 3, #KEYS do redis.call('SET', KEYS[i], now(), 'XX', 'KEEPTTL') end
if ARGV[2] ~= '' then
  local known = redis.call('GET', KEYS[2])
  if not known or known < ARGV[2] then redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3]) end
end
return redis.call('PUBLISH', ARGV[4], ARGV[5])
"""
