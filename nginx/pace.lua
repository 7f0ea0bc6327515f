-- A body that nginx holds must keep a pace: else a client that sends a byte now and then holds a
-- place, of which there are few, as long as it likes. The same pace as haproxy/pace.lua.

local WINDOW = 4 -- seconds
local LEAST = ngx.var.large_body ~= "" and 65536 or 16384 -- bytes that arrive in each window

local function watch()
  local before = tonumber(ngx.var.request_length)
  while true do
    ngx.sleep(WINDOW)
    local now = tonumber(ngx.var.request_length)
    if now - before < LEAST then
      ngx.log(ngx.WARN, "a body does not keep the pace: ", now - before, " bytes in ", WINDOW, " s")
      ngx.exit(ngx.HTTP_REQUEST_TIMEOUT)
    end
    before = now
  end
end

if ngx.var.large_body ~= "" or ngx.var.middle_body ~= "" then
  local watcher = ngx.thread.spawn(watch)
  ngx.req.read_body()
  ngx.thread.kill(watcher)
end
