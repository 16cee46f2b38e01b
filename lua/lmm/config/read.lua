--- The path of a file in Lua or JSON comes in; the table that it returns goes out. The Lua runs by itself: it can reach
--- no file, no program, no module and nothing of the caller's, and it ends.
local files = require("lmm.version").check "lmm.files"
local json = require "lmm.json"

local MOST_BYTES = 1024 * 1024
local MOST_INSTRUCTIONS = 10 * 1000 * 1000

local loadstring, setfenv = rawget(_G, "loadstring"), rawget(_G, "setfenv")

--- What the file may use: functions that change nothing outside of it. Each file gets tables of its own.
local function new_environment()
  local env = { ipairs = ipairs, pairs = pairs, next = next, select = select, tonumber = tonumber, tostring = tostring,
    type = type, error = error, assert = assert, unpack = rawget(_G, "unpack") }
  for _, name in ipairs { "string", "table", "math" } do
    env[name] = {}
    for key, value in pairs(_G[name]) do env[name][key] = value end
  end
  env.string.dump, env.string.rep = nil, nil
  return env
end

local function compile(text, name)
  if text:byte() == 27 then return nil, name:sub(2) .. ":1: it is compiled, and only a text is read" end
  if not setfenv then return load(text, name, "t", new_environment()) end
  local chunk, message = loadstring(text, name)
  return chunk and setfenv(chunk, new_environment()), message
end

--- Runs it as a coroutine of its own, since a hook is one coroutine's; on LuaJIT it is everybody's, and its compiler
--- knows none.
local function run(chunk)
  local jit, thread = rawget(_G, "jit"), coroutine.create(chunk)
  if jit then jit.off(chunk, true) end
  local hook, mask, count = debug.gethook(thread)
  debug.sethook(thread, function() error("it does not end", 2) end, "", MOST_INSTRUCTIONS)
  local ok, value = coroutine.resume(thread)
  debug.sethook(thread, hook, mask, count)
  if ok then return value end
  return nil, type(value) == "string" and value or "it raises what is no text"
end

--- Why a file or its folder is not the user's own, or nil.
local function problem_of_owner(path)
  local folder = path:match "^(.*)/[^/]*$" or "."
  for _, place in ipairs { path, folder == "" and "/" or folder } do
    local kind, is_own = files.kind(place)
    if kind and not is_own then
      return ("others can write %s, and so have your keys sent anywhere: make it your own, and chmod go-w '%s'")
        :format(place == path and "it" or "its folder", place)
    end
  end
end

--- The line that a message of Lua names, and the message without it.
local function split(message, name)
  local line, rest = message:match("^" .. name:gsub("%p", "%%%0") .. ":(%d+): (.*)$")
  return tonumber(line), rest or message
end

--- Reads a file.
---@param path string  whose name ends in .json where it is JSON
---@return table? value, string text_or_message, integer? line  of what is wrong
return function(path)
  local text, why = files.read(path, MOST_BYTES + 1)
  if not text then return nil, why end
  if #text > MOST_BYTES then return nil, ("it has more than %d bytes"):format(MOST_BYTES) end
  why = problem_of_owner(path)
  if why then return nil, why end
  local value, line
  if path:find "%.json$" then
    value, why = json.decode(text)
    local offset = why and tonumber(why:match "(%d+)")
    line = offset and select(2, text:sub(1, offset):gsub("\n", "")) + 1
    if not why then value = json.clean(value) end
  else
    local chunk
    chunk, why = compile(text, "=config")
    if chunk then value, why = run(chunk) end
    if why then line, why = split(why, "config") end
  end
  if why then return nil, why, line end
  if type(value) ~= "table" then return nil, ("it gives a %s, not a table"):format(type(value)) end
  return value, text
end
