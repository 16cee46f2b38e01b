--- Commands: who is asked, and how.
local attachments = require "lmm.cli.chat.attachments"
local console = require "lmm.cli.console"
local errors = require "lmm.errors"
local texts = require "lmm.text"

--- What a request carries and /set does not set.
local RESERVED = { stream = "answers always come as they are made", messages = "they are the conversation",
  headers = "-H gives them", model = "see /model", system = "see /system", schema = "see /schema",
  on_call = "it is a function", stop_when = "it is a function" }

local function show_settings(session)
  local json, lines, chat = require "lmm.json", {}, session:chat()
  for _, kind in ipairs { chat.fields, chat.opts } do
    for name, value in pairs(kind) do
      local ok, text = pcall(json.encode, value)
      if not RESERVED[name] and ok then lines[#lines + 1] = name .. " " .. text end
    end
  end
  table.sort(lines)
  if #lines == 0 then return session.screen:note "nothing is set" end
  session.screen:print(table.concat(lines, "\n"))
end

--- What the library says of a value that cannot be is the user's to read.
local function set(session, name, value)
  local _, misuse = errors.try(session:chat().set, session:chat(), name, value)
  if misuse then console.misuse("%s", (misuse:gsub("^chat:set:? ?", ""))) end
end

local function run_set(session, text)
  if text == "" then return show_settings(session) end
  local name, words = text:match "^([^%s=]+)[%s=]*(.-)$"
  if not name then console.misuse "/set takes a name and a value, as in /set temperature 0.2" end
  if RESERVED[name] then console.misuse("/set does not set '%s': %s", name, RESERVED[name]) end
  if words == "" then
    set(session, name, nil)
    return session.screen:note("%s is the server's to choose", name)
  end
  local value, message = require "lmm.json".decode(words)
  if message then value = words end
  set(session, name, value)
end

local function system(session, text)
  local path = text:match "^@([^@].*)$"
  if path then text = "@" .. attachments.file(path) end
  local message = text ~= "" and console.text(text, "the system message") or nil
  session:chat():set("system", message)
  if not message then session.screen:note "there is no system message" end
end

--- The models that the server lists, so that a signal ends the wait.
local function models_of(session, client)
  return session:wait(function() return client:models { timeout = 10, retry = false } end)
end

--- Asks a model: one of the configuration, whose server is asked then, and with its fields, or one of this server.
local function use_model(session, name)
  local asked = session.change { model = name }
  if not asked then return set(session, "model", name) end
  local client = asked.client
  if client and client.base_url ~= session.client.base_url then
    session:move(client)
    session.screen:note("asked is %s from now on", texts.without_user(client.base_url))
  elseif client then
    client:close()
  end
  if asked.model then set(session, "model", asked.model) end
  for field, value in pairs(asked.fields) do set(session, field, value) end
end

local function model(session, name)
  local chat = session:chat()
  if name ~= "" then return use_model(session, name) end
  local list, message = models_of(session, session.client)
  if not list then console.fail("%s", message) end
  local asked, lines = chat.fields.model or session.client.given_model or list[1] and list[1].id, {}
  for i, row in ipairs(list) do lines[i] = (row.id == asked and "* " or "  ") .. tostring(row.id) end
  session.screen:print(table.concat(lines, "\n"))
end

local UNREACHABLE = { connect = true, timeout = true, cancelled = true }

local function server(session, name)
  if name == "" then return session.screen:print(texts.without_user(session.client.base_url)) end
  if name:find "[:/]" and not name:find "://" then
    console.misuse("'%s' has no scheme: write http://%s or https://%s", name, name, name)
  end
  local client = session.change({ server = name }).client
  local list, message, err = models_of(session, client)
  if not list and UNREACHABLE[err.kind] then
    client:close()
    console.fail("%s", message)
  end
  session:move(client)
  session.screen:note("asked is %s from now on%s", texts.without_user(client.base_url),
    list and list[1] and ", and of its models " .. texts.line(tostring(list[1].id), 100) or "")
end

return {
  { name = "model", args = "[NAME]", complete = "model", run = model, help = "Ask another model, of this server or of "
    .. "your configuration; alone, list those of the server." },
  { name = "server", args = "[URL|NAME]", complete = "server", run = server, help = "Ask another server, all "
    .. "conversations of this chat taken along; alone, say which one it is." },
  { name = "system", args = "[TEXT|@FILE]", complete = "at_path", run = system, help = "Change the system message; "
    .. "alone, take it away." },
  { name = "set", args = "[NAME [VALUE]]", complete = "field", run = run_set, help = "Set a field of the requests, as "
    .. "in /set temperature 0.2; without a value, take it away; alone, list what is set." },
}
