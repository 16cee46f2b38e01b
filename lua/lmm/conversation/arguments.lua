--- What a caller gives to a question: strings, parts and options in order come in; the user's message, what is ours of
--- the options (of the call, and about tools), and the fields for the server go out.
local errors = require "lmm.errors"
local options = require "lmm.options"
local request = require "lmm.request"
local settings = require("lmm.call").settings
local structured = require("lmm.request").structured

local arguments = {}

--- The names that are ours in a table of options, and whose they are: those of the call (lmm.RequestOptions), or the
--- rules about tools (lmm.ToolRules). Every other name is a field of the request, the server's.
local OURS = {
  timeout = "opts", retry = "opts", schema = "opts", choice = "opts", regex = "opts", grammar = "opts",
  headers = "opts",
  run_tools = "rules", max_rounds = "rules", max_repairs = "rules", tool_timeout = "rules", on_tool_error = "rules",
  on_call = "rules", stop_when = "rules",
}

--- What says how the server is reached and what it is, which no server can be told.
local OF_CONNECT = { proxy = true, tls = true, unix_socket = true, media_cache = true, dialect = true, limits = true,
  prices = true }

--- Refuses what the server would get, and pass over without a word.
local function check_name(name)
  if type(name) ~= "string" then errors.misuse("unknown option '%s': an option has a name", tostring(name)) end
  if name == "messages" then errors.misuse "a conversation keeps its own messages: see client:chat" end
  if name == "system" then errors.misuse "system is an option of client:conversation, not of a question" end
  if OF_CONNECT[name] then errors.misuse("'%s' is an option of lmm.connect, not of a conversation", name) end
  local meant = options.is_slip(name, "system") and "system" or options.slip_of(name, OURS)
  if meant then errors.misuse("unknown option '%s' (did you mean '%s'?)", name, meant) end
end

local function is_part(value)
  local parts = package.loaded["lmm.part"] -- without which there are none
  return parts ~= nil and parts.is(value)
end

function arguments.copy(fields)
  local out = {}
  for name, value in pairs(fields) do out[name] = value end
  return out
end

--- Whether options say what the answer is to be.
local function asks_for_form(given)
  for _, name in ipairs(structured.names) do
    if given[name] ~= nil then return true end
  end
end

--- What of a table of options is ours, and what the server's; each over what holds otherwise.
---@param base { opts: table, fields: table, rules: table }
---@return table opts, table fields, table rules  the last is the base's own where there are no others
function arguments.split(given, base)
  if is_part(given) then errors.misuse "the options are a part: ask and stream take those" end
  local opts, fields, rules = arguments.copy(base.opts), arguments.copy(base.fields), base.rules
  if asks_for_form(given) then
    for _, name in ipairs(structured.names) do opts[name], fields[name] = nil, nil end
  end
  for name, value in pairs(given) do
    if OURS[name] == "opts" then
      opts[name] = value
    elseif OURS[name] == "rules" then
      if rules == base.rules then rules = arguments.copy(rules) end
      rules[name] = value
    else
      check_name(name)
      fields[name] = value
    end
  end
  if given.headers then opts.headers = settings.headers(given.headers, base.opts.headers) end
  return opts, fields, rules
end

--- Whether a table is a part of a question, ours or one in the server's form, and not its options.
function arguments.is_content(value)
  return is_part(value) or value.type ~= nil
end

--- The user's message and the options, from what was given in order.
---@return table? message  nil where there is no part
---@return table opts
function arguments.read(...)
  local content, opts, text = {}, nil, nil
  local count = select("#", ...)
  while count > 0 and select(count, ...) == nil do count = count - 1 end -- a nil at the end is no argument
  for i = 1, count do
    local value = select(i, ...)
    if type(value) == "string" then
      content[#content + 1], text = { type = "text", text = value }, value
    elseif type(value) == "table" and arguments.is_content(value) then
      content[#content + 1] = request.copy(value)
    elseif type(value) == "table" and value[1] ~= nil then
      errors.misuse("argument %d is a list: pass what is in it one by one", i)
    elseif type(value) == "table" and i == count then
      opts = value -- behind a question
    else
      errors.misuse("argument %d is %s: strings, parts, and last a table of options are taken", i,
        type(value) == "table" and "a table without 'type'" or "a " .. type(value))
    end
  end
  if #content == 0 then return nil, opts or {} end
  return { role = "user", content = #content == 1 and text or content }, opts or {}
end

return arguments
