-- What nginx.conf's locations do: a request comes in, a model's answer goes out.
-- luacheck: globals ngx
local lmm = require "lmm"

local json = lmm.json

local service = {}

-- One for the worker: it holds settings, and nothing of a request.
local client = lmm.connect()

local QUESTION = "What is shown in the image?"
local USAGE = "send a picture: curl --data-binary @picture.jpg URL, or in a form: curl -F file=@picture.jpg URL"

local FORM_MAX = 10 -- MiB: a form is read whole, and its worker does nothing else meanwhile
local TOO_LARGE = ("a form may have %d MiB, a picture alone more: curl --data-binary @picture.jpg URL"):format(FORM_MAX)

--- Whose fault it was: our client's where the request cannot be sent, else the model's.
local function status_of(err)
  return err.kind == "invalid" and 400 or 502
end

--- Ends the request with what went wrong.
local function refuse(status, message)
  ngx.status = status
  ngx.header.content_type = "text/plain"
  ngx.say(message)
end

--- What a file holds; nil where that is more than `limit` bytes.
local function read_file(path, limit)
  local file = assert(io.open(path, "rb"))
  local bytes = file:seek "end" <= limit and file:seek "set" and file:read "*a" or nil
  file:close()
  return bytes
end

--- The first file in a form (RFC 7578).
local function find_in_form(form, boundary)
  boundary = "--" .. boundary
  local at = 1
  while true do
    local _, begin = form:find(boundary .. "\r\n", at, true)
    local _, head = form:find("\r\n\r\n", begin or #form, true)
    local stop = head and form:find("\r\n" .. boundary, head + 1, true)
    if not stop then return nil end
    if form:sub(begin, head):lower():find('filename="', 1, true) then return form:sub(head + 1, stop - 1) end
    at = stop
  end
end

--- What is wrong with a picture, to who sent it, who knows neither nginx's file nor what a call of Lua's may pass.
local function tell_sender(message, path)
  local name = path and "'" .. path .. "'" or "the data in bytes"
  local first, last = message:find(name, 1, true)
  if first then message = message:sub(1, first - 1) .. "the picture sent" .. message:sub(last + 1) end
  return (message:gsub(" %(pass {[^()]*%)$", ""))
end

--- The picture that was sent, as a part: the body itself, or the first file in a form; else nil, a status and why.
--- nginx has read the body by now (lua_need_request_body).
local function picture()
  local bytes, path = ngx.req.get_body_data(), ngx.req.get_body_file()
  local kind = ngx.var.http_content_type or ""
  local boundary = kind:match '^multipart/form%-data;.*boundary="?([^";]+)'
  if boundary then
    local form = bytes or not path and "" or read_file(path, FORM_MAX * 1024 * 1024)
    if not form then return nil, 413, TOO_LARGE end
    bytes, path = find_in_form(form, boundary), nil
  end
  if not path and (bytes or "") == "" then return nil, 400, USAGE end
  local image = lmm.image(path or { bytes = bytes })
  if image.err then return nil, 400, tell_sender(image.err.message, path) end
  return image
end

--- The argument `q`, or nil. nginx gives true where an argument has no value, and a list where it comes twice.
local function question_in(arguments)
  local q = arguments.q
  return type(q) == "string" and q:find "%S" and q or nil
end

--- Gives whether the client still takes what it is sent.
local function send_event(value)
  return ngx.print("data: ", type(value) == "string" and value or json.encode(value), "\n\n") and ngx.flush(true)
end

--- The answer as events, each with a piece of its text. Where the client has left, nobody waits for the rest.
local function stream_out(stream)
  local piece, message, err = stream:next()
  if message then return refuse(status_of(err), message) end
  ngx.header.content_type = "text/event-stream"
  ngx.header.cache_control = "no-cache"
  while piece do
    if not send_event { text = piece } then return stream:cancel() end
    piece, message = stream:next()
  end
  send_event(message and { error = message } or "[DONE]")
end

--- POST /describe: the body is a picture.
function service.describe()
  local image, status, problem = picture()
  if not image then return refuse(status, problem) end
  local chat = client:conversation { system = "Answer in one sentence." }
  if (ngx.var.http_accept or ""):find("text/event-stream", 1, true) then
    return stream_out((chat:stream(QUESTION, image)))
  end
  local reply, message, err = chat:ask(QUESTION, image)
  if not reply then return refuse(status_of(err), message) end
  ngx.header.content_type = "text/plain"
  ngx.say(reply.text)
end

--- GET /ask?q=...
function service.ask()
  local question = question_in(ngx.req.get_uri_args())
  if not question then return refuse(400, "ask?q=...: one question is needed") end
  local reply, message, err = client:conversation():ask(question)
  if not reply then return refuse(status_of(err), message) end
  ngx.header.content_type = "text/plain"
  ngx.say(reply.text)
end

--- GET /compare?q=...&model=A&model=B...: all are asked at the same time, as often as they are named. Where fewer than
--- two are named, models of the server make up two; one that has a single model is asked twice.
function service.compare()
  local arguments = ngx.req.get_uri_args()
  local question = question_in(arguments)
  if not question then return refuse(400, "compare?q=...: one question is needed") end
  local named = type(arguments.model) == "table" and arguments.model or { arguments.model }
  for _, name in ipairs(named) do
    if type(name) ~= "string" or not name:find "^%C+$" then
      return refuse(400, "compare?model=...: a model needs a name")
    end
  end
  if #named < 2 then
    local models, message, err = client:models()
    if not models then return refuse(status_of(err), message) end
    if not models[1] then return refuse(502, "the server lists no model: name two, as in &model=a&model=b") end
    local first = named[1] or models[1].id
    local second = models[1].id ~= first and models[1] or models[2] or models[1]
    named = { first, second.id }
  end
  local tasks, out = {}, {}
  for i, model in ipairs(named) do
    tasks[i] = function()
      return client:chat { model = model, messages = { { role = "user", content = question } } }
    end
  end
  local replies, problems = lmm.gather(tasks)
  for i, model in ipairs(named) do
    out[i] = { model = model, text = replies[i] and replies[i].text, error = problems[i] and problems[i].message }
  end
  if not next(replies) then ngx.status = status_of(problems[1]) end
  ngx.header.content_type = "application/json"
  ngx.say(json.encode(out))
end

return service
