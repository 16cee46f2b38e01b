--- A conversation in a file: a conversation comes in and JSON goes out; and back. In the file:
---
---     { "format": "lmm.conversation", "inline": bytes of base64 in it, "messages": [...],
---       "options": { "fields": {...}, "schema": {...} }, "version": 1 }
---
--- A part stands in it as { "lmm.part": {...} }, see lmm.part.reference. That a table which came from a server is never
--- taken for one, every other name that begins with "lmm." has one more "lmm." in front. No header and no key is saved.
local calls = require "lmm.call"
local core = require "lmm.core"
local errors = require "lmm.errors"
local histories = require "lmm.conversation.history"
local json = require "lmm.json"
local messages = require "lmm.conversation.messages"
local options = require "lmm.options"
local parts = require "lmm.part"
local texts = require "lmm.text"
local version = require "lmm.version"

local saved = {}

local FORMAT, VERSION = "lmm.conversation", 1
local PART = "lmm.part"

local MOST_TEXT = 64 * 1024 * 1024 -- bytes, beside what is inlined
local MOST_INLINE = 960 * 1024 * 1024 -- bytes of base64, so that all of it has at most 1 GiB
local MOST_TABLES = 1000000 -- lists and objects: they take memory beyond their text
local LONGEST_NAME = 40 -- bytes of a name, in a message
local HEAD = 4096 -- bytes, which say what a file is

local function invalid(...)
  return errors.new { kind = "invalid", message = string.format(...) }
end

local function too_long(path, what, most)
  return errors.new { kind = "limit", message = ("the conversation in '%s' has more than %d MiB of %s"):format(path,
    most / 1024 / 1024, what) }
end

local function too_many(path)
  return errors.new { kind = "limit", message = ("the conversation in '%s' has more than %d lists and objects"):format(
    path, MOST_TABLES) }
end

--- What is wrong with a part, told of the conversation that cannot be saved for it.
local function unsaved(path, err)
  local copy = errors.copy(err)
  copy.message = ("cannot save the conversation in '%s': %s"):format(path, err.message)
  return copy
end

local function files()
  return version.check "lmm.files"
end

local function check_path(where, path)
  if type(path) ~= "string" then errors.misuse("%s: a path expected, not a %s", where, type(path)) end
  if path == "" or path:find("\0", 1, true) then
    errors.misuse("%s: the path is empty, or holds a NUL byte", where)
  end
end

-- ---- out

local function is_reserved(key)
  return type(key) == "string" and key:find "^lmm%." ~= nil
end

local function has_reserved(value)
  for key in next, value do
    if is_reserved(key) then return true end
  end
end

--- What stands for a value in the file: the same, or a copy in which parts are described and names escaped. What is
--- nested too deep, or holds itself, is refused when it is written.
---@param how { inline: boolean?, bytes: integer, tables: integer, err: lmm.Error?, done: table, counts: table }
local function plain(value, how, depth)
  if type(value) ~= "table" or depth > json.MAX_DEPTH then return value end
  if parts.is(value) then
    local fields, err, bytes = parts.describe(value, how.inline)
    how.err, how.bytes, how.tables = how.err or err, how.bytes + bytes, how.tables + 3
    return { [PART] = fields }
  end
  if how.done[value] then
    how.tables = how.tables + (how.counts[value] or 0)
    return how.done[value]
  end
  local before = how.tables
  how.done[value], how.tables = value, before + 1
  local copy = has_reserved(value) and setmetatable({}, getmetatable(value)) or nil
  local is_new = copy ~= nil
  for key, item in next, value do
    local result = plain(item, how, depth + 1)
    if is_new or result ~= item then
      copy = copy or json.copy(value)
      copy[is_reserved(key) and "lmm." .. key or key] = result
    end
  end
  how.done[value], how.counts[value] = copy or value, how.tables - before
  return copy or value
end

--- What says how and how long a server is asked, not what: it is given anew.
local NOT_SAVED = { timeout = true, retry = true, headers = true }

local function options_of(chat, how)
  local saved_options = { fields = plain(calls.public(chat.fields), how, 1) }
  for name, value in pairs(chat.opts) do
    if not NOT_SAVED[name] then saved_options[name] = plain(value, how, 1) end
  end
  return saved_options
end

--- The file's text, as a body.
---@return userdata? body, lmm.Error? err, integer bytes  of base64 in it
local function written(chat, path, inline)
  local how = { inline = inline, bytes = 0, tables = 3, done = {}, counts = {} }
  local list, history = {}, chat.history
  for i = 1, history:size() do list[i] = history:at(i) end
  local problem = messages.problem(list)
  if problem then return nil, invalid("the conversation cannot be saved: %s", problem), 0 end
  for i, message in ipairs(list) do list[i] = plain(message, how, 1) end
  local tree = {
    format = FORMAT, version = VERSION, messages = json.array(list),
    options = options_of(chat, how),
  }
  if how.err then return nil, unsaved(path, how.err), 0 end
  if how.tables > MOST_TABLES then return nil, too_many(path), 0 end
  tree.inline = how.bytes
  json.learn_marks()
  local body, message = core.write(tree, { name = "the conversation" })
  if not body then return nil, invalid("the conversation cannot be saved: %s", message), 0 end
  return body, nil, how.bytes
end

--- Whether a text is a saved conversation, or the beginning of one.
local function is_ours(text)
  return text:find('^%s*{%s*"format"%s*:%s*"lmm%.conversation"') ~= nil
end

--- The folder in which a path is.
local function folder_of(path)
  local folder = path:match "^(.*)/[^/]*$"
  return folder == "" and "/" or folder or "."
end

--- Why there cannot be written at a path, or nil: what is there and is no saved conversation is not ours to replace.
---@param path string
---@return lmm.Error?
function saved.check_target(path)
  check_path("chat:save", path)
  local text, why, is_missing = files().read(path, HEAD)
  if is_missing then
    local is_file, _, is_nowhere = files().read(folder_of(path), 0) -- a folder is there, and cannot be read
    if not is_file and not is_nowhere then return nil end
  end
  if not text then return invalid("cannot save the conversation in '%s': %s", path, why) end
  if text == "" or is_ours(text) then return nil end
  local whole = #text < HEAD and text or files().read(path, MOST_TEXT) or "" -- another program may have turned it round
  local value = core.decode(whole, { depth = json.MAX_DEPTH, containers = MOST_TABLES })
  if type(value) == "table" and value.format == FORMAT then return nil end
  return invalid("'%s' is there, and is no saved conversation: it is not overwritten; give another path", path)
end

local save_rows = { inline = "boolean" }

--- Saves a conversation. See Conversation:save.
---@param chat lmm.Conversation
---@return true? saved, lmm.Error? err
function saved.save(chat, path, opts)
  opts = options.check("chat:save", save_rows, opts)
  local err = saved.check_target(path)
  if err then return nil, err end
  local body, bytes
  body, err, bytes = written(chat, path, opts.inline)
  if not body then return nil, err end
  if bytes > MOST_INLINE then return nil, too_long(path, "media in base64", MOST_INLINE) end
  if body:size() - bytes > MOST_TEXT then return nil, too_long(path, "text", MOST_TEXT) end
  local ok, why = files().write(path, body)
  body:close()
  if ok then return true end
  return nil, invalid("cannot save the conversation in '%s': %s", path, why)
end

-- ---- back

--- The bytes of a saved conversation, within the limits.
---@return string? text, lmm.Error? err
local function read(path)
  local head, size = files().read(path, HEAD)
  if not head then return nil, invalid("cannot load the conversation in '%s': %s", path, size) end
  local inline = tonumber(head:match '^%s*{%s*"format"%s*:%s*"lmm%.conversation"%s*,%s*"inline"%s*:%s*(%d+)') or 0
  if inline > MOST_INLINE then return nil, too_long(path, "media in base64", MOST_INLINE) end
  if size > MOST_TEXT + inline then return nil, too_long(path, "text", MOST_TEXT) end
  local text, why = files().read(path, MOST_TEXT + inline)
  if not text then return nil, invalid("cannot load the conversation in '%s': %s", path, why) end
  return text
end

--- The object in a saved conversation of our version.
---@return table? tree, lmm.Error? err
local function decode(path, text)
  local tree, message, _, why = core.decode(text, { depth = json.MAX_DEPTH, containers = MOST_TABLES })
  if why == "limit" and not message:find "nested" then return nil, too_many(path) end
  if message and is_ours(text) then
    return nil, invalid("the saved conversation in '%s' is damaged: %s%s", path, message,
      why == "cut" and " (its end is missing)" or "")
  end
  if text == "" then return nil, invalid("'%s' is empty, and no saved conversation", path) end
  if type(tree) ~= "table" or tree.format ~= FORMAT then
    return nil, invalid("'%s' is no saved conversation: chat:save writes one", path)
  end
  local bad = core.utf8(text)
  if bad then
    return nil, invalid("the saved conversation in '%s' is damaged: it is not UTF-8 from byte %d on", path, bad)
  end
  local number = tree.version
  if type(number) ~= "number" or number < 1 or number % 1 ~= 0 then
    return nil, invalid("the saved conversation in '%s' was changed: its version is %s", path,
      number == nil and "missing" or "no whole number")
  end
  if number > VERSION then
    return nil, invalid("the conversation in '%s' was saved by a newer lmm: its format has version %s, and this lmm "
      .. "reads version %d; update lmm", path, tostring(number), VERSION)
  end
  return tree
end

local function is_object(value)
  return type(value) == "table" and #value == 0 and not json.is_empty_array(value) and not parts.is(value)
end

local function place_of(key)
  return type(key) == "number" and ("[%d]"):format(key) or "." .. key:sub(1, LONGEST_NAME)
end

local function is_shorter(a, b)
  return #a < #b
end

--- The value with its parts made and its names as they were, in place; or what is wrong in it, behind its place.
local function restored(value, map)
  if type(value) ~= "table" then return value end
  if value[PART] ~= nil then return parts.restore(value[PART], map) end
  local names
  for key, item in next, value do
    local result, problem = restored(item, map)
    if problem then return nil, place_of(key) .. problem end
    value[key] = result
    if type(key) == "string" and key:find "^lmm%.lmm%." then
      names = names or {}
      names[#names + 1] = key
    end
  end
  if not names then return value end
  table.sort(names, is_shorter) -- so that none takes the place of one that is still to be renamed
  for _, key in ipairs(names) do value[key:sub(5)], value[key] = value[key], nil end
  return value
end

--- What is in a tree, or what is wrong in it.
---@return { history: lmm.History, opts: table, fields: table }? loaded, string? problem
local function take_apart(tree, map)
  local opts, problem = restored(tree.options == nil and {} or tree.options, map)
  if problem then return nil, "options" .. problem end
  if not is_object(opts) then return nil, "options is no object" end
  for name in pairs(opts) do
    if NOT_SAVED[name] then return nil, ("options.%s does not belong there"):format(name) end
  end
  local fields = opts.fields or {}
  if not is_object(fields) then return nil, "options.fields is no object" end
  opts.fields = nil
  if tree.messages == nil then return nil, "messages is missing" end
  local list
  list, problem = restored(tree.messages, map)
  problem = problem and "messages" .. problem or messages.problem(list)
  if problem then return nil, problem end
  return { history = histories.new(list), opts = opts, fields = fields }
end

--- What gives a path by the longest of the folders that were moved.
---@param given table<string, string>?
---@return nil|fun(path: string): string
local function mapper(given)
  if not given then return nil end
  local moved = {}
  for from, to in pairs(given) do
    if type(from) ~= "string" or type(to) ~= "string" or from == "" or to == "" then
      errors.misuse "client:load: media is a table of folders: media = { [\"old/dir\"] = \"new/dir\" }"
    end
    moved[#moved + 1] = { (files().absolute(from) or from):gsub("/+$", ""), (to:gsub("(.)/+$", "%1")) }
  end
  table.sort(moved, function(a, b) return #a[1] > #b[1] end)
  return function(path)
    local whole = files().absolute(path) or path -- as the folders are written
    for _, row in ipairs(moved) do
      local from, to = row[1], row[2]
      if whole == from then return to end
      if whole:sub(1, #from + 1) == from .. "/" then return (to == "/" and "" or to) .. whole:sub(#from + 1) end
    end
    return path
  end
end

--- What a saved conversation holds. See Client:load.
---@param path string
---@param media table<string, string>?
---@return { history: lmm.History, opts: table, fields: table }? loaded, lmm.Error? err
function saved.load(path, media)
  check_path("client:load", path)
  local map = mapper(media)
  local text, err = read(path)
  if not text then return nil, err end
  local tree
  tree, err = decode(path, text)
  if not tree then return nil, err end
  local loaded, problem = take_apart(tree, map)
  if loaded then return loaded end
  return nil, invalid("the saved conversation in '%s' was changed, and cannot be used: %s", path,
    texts.line(problem, 500))
end

return saved
