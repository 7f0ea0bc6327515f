-- Watches a body that is streamed to a replica, since it occupies a thread there: the body must
-- keep a pace, and one of unknown length is cut at the limit.

local WINDOW_MS = 4000
local LEAST = 65536 -- bytes that arrive in each window: 16 KiB a second
local MOST = tonumber(os.getenv("MAX_BODY_BYTES"))

local Pace = { flags = filter.FLT_CFG_FL_HTX }
Pace.__index = Pace

local function now_ms()
  local now = core.now()
  return now.sec * 1000 + now.usec / 1000
end

function Pace:new()
  return setmetatable({ since = now_ms(), size = 0, fresh = 0 }, Pace)
end

function Pace:start_analyze(_, channel)
  if not channel:is_resp() then
    filter.register_data_filter(self, channel)
  end
end

-- HAProxy 3.0 misreads filter.ERROR from http_payload as a huge number, so this raises an error,
-- which ends the request.
local function refuse(txn, status, reason)
  txn:set_var("txn.refused", status)
  error(reason, 0)
end

function Pace:http_payload(txn, message)
  local arrived = message:input()
  self.size = self.size + arrived
  self.fresh = self.fresh + arrived
  if self.size > MOST then
    refuse(txn, 413, "request rejected: body larger than MAX_BODY_BYTES")
  end
  if now_ms() - self.since > WINDOW_MS then
    if self.fresh < LEAST then
      refuse(txn, 408, "request rejected: body slower than 16 KiB/s")
    end
    self.since, self.fresh = now_ms(), 0
  end
end

core.register_filter("pace", Pace, function(pace)
  return pace
end)
