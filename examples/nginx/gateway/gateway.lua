-- What nginx.conf's locations do: a client's request goes to one of the model servers, their answer back as it came.
-- luacheck: globals ngx
local lmm = require "lmm"

local gateway, servers = {}, {} -- $LMM_SERVERS: base URLs with spaces between; $OPENAI_API_KEY is their key
for url in (os.getenv "LMM_SERVERS" or "http://127.0.0.1:8000/v1"):gmatch "%S+" do servers[#servers + 1] = url end
local client = lmm.connect { base_url = servers } -- one for the worker, and so is what is known of the servers

local function refuse(err) -- where the servers are is for the log alone
  local status = err.status or err.code == "model_not_found" and 404 or err.kind == "invalid" and 400 or 502
  local said = status == 400 and err.message:gsub("%a+://%S+", "") or status == 404 and "no such model" or "no answer"
  ngx.status = status >= 400 and status or 502
  ngx.header.content_type, ngx.header.retry_after = err.body and err.content_type or "application/json", err.retry_after
  ngx.print(err.body or lmm.json.encode { error = { message = said, type = err.kind, code = err.code or ngx.status } })
  if ngx.status >= 500 or not err.body and status ~= 400 then ngx.log(ngx.ERR, err.message) end
end

function gateway.chat()
  local stream = client:stream(ngx.req.get_body_data() or "")
  local head, _, err = stream:head() -- until then another server may be tried
  if not head then return refuse(err) end
  ngx.header.content_type, ngx.header.x_request_id = head.headers["content-type"], head.headers["x-request-id"]
  local read, ok, bytes = (stream:raw())
  repeat
    ok, bytes = pcall(read)
    if ok and bytes and not (ngx.print(bytes) and ngx.flush(true)) then return stream:cancel() end -- it has left
  until not (ok and bytes)
  if not ok then ngx.log(ngx.ERR, bytes) return ngx.exit(ngx.ERROR) end -- what the client gets breaks off likewise
  local reply = stream:reply()
  ngx.var.model, ngx.var.first_token = reply.model or "-", ("%.3f"):format(reply.timing.first_token or 0)
  ngx.var.tokens = (reply.usage.prompt_tokens or "-") .. "+" .. (reply.usage.completion_tokens or "-")
end

function gateway.models()
  local list, _, err = client:models()
  if not list then return refuse(err) end
  ngx.print(lmm.json.encode { object = "list", data = lmm.array(list) })
end

return gateway
