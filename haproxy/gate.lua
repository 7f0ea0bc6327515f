-- A replica gets no request before its first good check. HAProxy 3.0 regards an address that DNS
-- has just listed as up until a check fails, and requests may hang until then ("init-state" came
-- with 3.1). So a new address begins with weight 0, and gets its weight once it has stayed up for
-- longer than a check can take.

local TICK_MS = 100
local PROVEN_MS = 1700 -- inter 500 ms, timeout check 1 s, and some

local seen = {} -- by server: its address, and the time since which it is on probation
local followed = {} -- by server of "bodies": its weight

local function now_ms()
  local now = core.now()
  return now.sec * 1000 + now.usec / 1000
end

-- Returns whether the server gets requests.
local function gate(name, server)
  local status = server:get_stats().status or ""
  local address = server:get_addr()
  if not seen[name] then
    -- After a reload the old worker has passed on the address. It has passed its checks, unless its
    -- weight is still 0.
    local proven = not status:find("MAINT", 1, true) and server:get_weight() > 0
    seen[name] = { address = proven and address or nil }
  end
  local state = seen[name]
  if status:find("MAINT", 1, true) or state.address ~= address then
    state.address, state.since = address, now_ms()
    server:set_weight("0%")
  elseif state.since and (status:find("DOWN", 1, true) or now_ms() - state.since > PROVEN_MS) then
    -- Down: it needs a good check to be up again, so the gate is not needed.
    state.since = nil
    server:set_weight("100%")
  end
  return status:find("UP", 1, true) == 1 and not state.since
end

-- By server: since it was last up, a check was refused or answered with an error. The server ends,
-- or is unhealthy.
local leaving = {}

-- Keeps half of the replicas up that accept a check's connection but do not answer in time. Either
-- they hang, or all replicas lack CPU time; then removing them would overload the others. A drained
-- replica that ends does not answer either, and is not kept.
local function keep_half()
  local known, slow = 0, {}
  for name, server in pairs(core.backends["replicas"].servers) do
    local stats = server:get_stats()
    if not stats.status:find("MAINT", 1, true) then
      known = known + 1
      if not stats.status:find("DOWN", 1, true) then
        leaving[name] = nil
      elseif not (stats.check_status or ""):find("L7TOUT", 1, true) then
        leaving[name] = true
      elseif not leaving[name] then
        slow[#slow + 1] = server
      end
    end
  end
  for number = known // 2 + 1, #slow do
    slow[number]:check_force_up()
  end
end

-- The servers of "bodies" have no checks: they follow the servers with the same address. If none is
-- healthy all get requests, as in "unchecked".
local function follow(fit)
  for name, server in pairs(core.backends["bodies"].servers) do
    local weight = (next(fit) == nil or fit[server:get_addr()]) and "100%" or "0%"
    if followed[name] ~= weight then
      followed[name] = weight
      server:set_weight(weight)
    end
  end
end

-- The CDN's containers, by address: HAProxy trusts their header with the client's address.
local cdn = {}

core.register_fetches("from_cdn", function(txn)
  return cdn[txn.sf:fc_src()] and 1 or 0
end)

local function find_cdn()
  local found = {}
  for _, server in pairs(core.backends["edges"].servers) do
    local address = (server:get_addr() or ""):match("^([%d.]+):%d+$")
    if address then
      found[address] = true
    end
  end
  cdn = found
end
core.register_init(find_cdn) -- before the first request

core.register_task(function()
  while true do
    find_cdn()
    local fit = {}
    for name, server in pairs(core.backends["replicas"].servers) do
      if gate(name, server) then
        fit[server:get_addr()] = true
      end
    end
    follow(fit)
    keep_half()
    core.msleep(TICK_MS)
  end
end)
