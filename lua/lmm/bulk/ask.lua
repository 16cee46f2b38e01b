--- What a row asks: a record comes in; what the server answers goes out. A record is a line of OpenAI's batch format,
--- or anything of which a prompt or a function makes a chat request.
local errors = require "lmm.errors"
local json = require "lmm.json"
local parts = require "lmm.part"
local results = require "lmm.bulk.result"

local ask = {}

local CHAT = "/v1/chat/completions"
local ENDPOINTS = {
  [CHAT] = "chat/completions", ["/v1/embeddings"] = "embeddings", ["/v1/completions"] = "completions",
}

local function fail(format, ...)
  local err = errors.new { kind = "invalid", message = format:format(...) }
  return nil, err.message, err
end

-- ---- media -----------------------------------------------------------------------------------------------------

local KINDS = { image_url = "image", video_url = "video", audio_url = "audio" }

--- The path that a URL in a body names on this machine; nil where the server is to fetch it, or it has the bytes.
local function local_path(url)
  if not url:find "^%a[%w+.-]*:" then return url end
  local path = url:match "^file://(/.*)$" or url:match "^file://localhost(/.*)$"
  return path and (path:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

--- Adds what stands beside a medium, or beside its URL, to the options of its part.
local function add_options(opts, from, kind)
  for name, value in pairs(from) do
    if name ~= "type" and name ~= kind and name ~= "url" then opts[name] = value end
  end
end

--- The part for a medium on this machine, which is read as it is sent; nil for what goes as it is.
local function local_part(item)
  local kind = KINDS[item.type]
  local inside = kind and item[item.type]
  local url = type(inside) == "table" and inside.url or inside
  local path = kind and type(url) == "string" and local_path(url)
  if not path then return nil end
  local opts = { trust_uuid = item.uuid ~= nil or nil }
  add_options(opts, item, item.type)
  if type(inside) == "table" then add_options(opts, inside, item.type) end
  return parts.new(kind, path, opts)
end

--- The messages with what stands on this machine as parts.
local function with_local_media(messages)
  local out = {}
  for i, message in ipairs(messages) do
    local content = type(message) == "table" and message.content
    if type(content) == "table" and content[1] ~= nil then
      local copy, list = { role = nil, content = nil }, { nil, nil } -- made large enough at once
      for name, value in pairs(message) do copy[name] = value end
      for j, item in ipairs(content) do list[j] = type(item) == "table" and local_part(item) or item end
      copy.content = list
      message = copy
    end
    out[i] = message
  end
  return out
end

-- ---- requests ----------------------------------------------------------------------------------------------------

--- A value of a record, if there is one: a null is none.
local function given(value)
  if value ~= json.null then return value end
end

--- What is wrong with a line of the batch format; nil where nothing is.
---@return string?
function ask.problem(record)
  if type(record) ~= "table" or record[1] ~= nil then return "it is no JSON object" end
  local url, method = given(record.url), given(record.method)
  if not ENDPOINTS[url] then
    local wrong = url == nil and "it has no url" or ("the url '%s' is unknown"):format(tostring(url))
    return ("%s: there are %s, /v1/embeddings and /v1/completions"):format(wrong, CHAT)
  end
  if method ~= nil and method ~= "POST" then return ("the method '%s' is not POST"):format(tostring(method)) end
  local body = record.body
  if type(body) ~= "table" or body[1] ~= nil then return "its body is no JSON object" end
  if record.url == CHAT and (type(body.messages) ~= "table" or body.messages[1] == nil) then
    return "its body has no messages"
  end
end

--- Misuse of the library by what stands in a row is that row's error.
local function is_made(ok, ...)
  if ok then return ... end
  local problem = ...
  local text = tostring(errors.is(problem) and problem.message or problem):gsub("^[^\n]-:%d+: ", ""):gsub("^lmm: ", "")
  return fail("%s", text)
end

--- The stream of a chat request that is nobody else's.
local function open(client, request)
  request.messages = with_local_media(request.messages)
  return client:open_stream("lmm batch", request, nil, false)
end

--- Asks for one chat answer. Nothing waits within a pcall.
local function chat(client, request)
  local stream, message, err = is_made(pcall(open, client, request))
  if not stream then return nil, message, err end
  return stream:reply()
end

--- The model of a row: one that names none asks the same one as the run's others.
---@return string? model, lmm.Error? err
local function model_of(body, client, journal)
  if given(body.model) ~= nil then return body.model end
  local model, err = client:default_model()
  if not model then
    err = errors.copy(err)
    err.ends_run = not err.retryable -- no row that names none could be asked
    return nil, err
  end
  local is_kept
  is_kept, err = journal:keep_model(model)
  return is_kept and model, err
end

--- A request as it is sent: of a model, and for no stream. It is another table than the row's, which may run again.
---@param journal lmm.Journal
---@return table? request, string? message, lmm.Error? err
local function request_of(body, client, journal)
  local model, err = model_of(body, client, journal)
  if not model then return errors.public(nil, err) end
  local request = {}
  for name, value in pairs(body) do request[name] = value end
  request.model, request.stream, request.stream_options = model, nil, nil
  return request
end

--- Asks what a line of the batch format asks. For lmm.map.
---@return fun(record: any, client: lmm.Client, journal: lmm.Journal)
function ask.of_batch()
  return function(record, client, journal)
    local request, problem, why = request_of(record.body, client, journal)
    if not request then return nil, problem, why end
    if record.url == CHAT then return chat(client, request) end
    local reply, message, err = client:request("POST", ENDPOINTS[record.url], request)
    if not reply then return nil, message, err end
    if type(reply.json) ~= "table" then return fail "the server answered with what is no JSON object" end
    return reply.json
  end
end

--- Asks what a function makes of a record: a chat request, in which parts may stand.
---@param build fun(record: any): table?, string?
---@param fields table  of every request, where it has none of its own
---@param call fun(fn: function, ...): boolean, any, any  as pcall; raises nothing either
---@return fun(record: any, client: lmm.Client, journal: lmm.Journal)
function ask.of_builder(build, fields, call)
  return function(record, client, journal)
    local ok, made, why = call(build, record)
    if not ok and errors.is(made) and made.kind == "cancelled" then return errors.public(nil, made) end
    if not ok then return fail("the request cannot be made: %s", results.message(made)) end
    if type(made) ~= "table" then
      why = why and results.message(why) or "a table expected, got " .. type(made)
      return fail("the request cannot be made: %s", why)
    end
    local body = {}
    for name, value in pairs(fields) do body[name] = value end
    for name, value in pairs(made) do body[name] = value end
    if type(body.messages) ~= "table" then return fail "the request has no messages" end
    local request, problem, err = request_of(body, client, journal)
    if not request then return nil, problem, err end
    return chat(client, request)
  end
end

-- ---- prompts -----------------------------------------------------------------------------------------------------

--- The names in braces in a prompt that may be those of columns; of what else stands in braces nothing is said.
---@return string[]
function ask.columns(prompt)
  local names = {}
  for name in prompt:gmatch "{([%w_\128-\255][%w_ .\128-\255-]*)}" do names[#names + 1] = name end
  return names
end

--- What is wrong with a record of which a prompt names these columns; nil where nothing is.
---@param columns string[]
---@return string?
function ask.misfit(columns, record)
  if type(record) ~= "table" or record[1] ~= nil then
    return "it is no JSON object, of which a prompt can name the fields"
  end
  for _, name in ipairs(columns) do
    if record[name] == nil then return ("it has no field '%s', which the prompt names"):format(name) end
  end
end

--- Makes requests of a prompt: `{column}` in it stands for that field of the record, in JSON where that is no text; the
--- record's `image` goes along.
---@param prompt string
---@param system string?
---@return fun(record: table): table
function ask.prompter(prompt, system)
  return function(record)
    local text = prompt:gsub("{([^{}]+)}", function(name)
      local value = record[name]
      if value == nil or type(value) == "string" then return value end
      return json.text(value)
    end)
    local content = { { type = "text", text = text } }
    if type(record.image) == "string" and record.image ~= "" then
      content[2] = parts.new("image", local_path(record.image) or record.image)
    end
    local messages = { { role = "user", content = content } }
    if system then table.insert(messages, 1, { role = "system", content = system }) end
    return { messages = messages }
  end
end

return ask
