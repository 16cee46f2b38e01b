--- The path of a file in Lua or JSON comes in; the table that it returns goes out. The Lua runs by itself: it can reach
--- no file, no program, no module and nothing of the caller's, and it ends.
local files = require("lmm.version").check "lmm.files"
local json = require "lmm.json"

local MOST_BYTES = 1024 * 1024
local MOST_SECONDS = 0.5 -- of the processor
local MOST_KIB = 16 * 1024

local NAME = "=config" -- of the chunk, which messages of Lua begin with
local TAKES_MORE = ("it takes more than %d MiB"):format(MOST_KIB / 1024)

local loadstring, setfenv = rawget(_G, "loadstring"), rawget(_G, "setfenv")

local KEPT = {
  string = { "byte", "char", "format", "len", "lower", "reverse", "sub", "upper" },
  table = { "concat", "insert", "remove", "unpack" },
}

--- Calls a function of Lua's whose result has no more than so many bytes. What it raises is of the line of the file,
--- whose methods of strings these are meanwhile.
local function call(name, fn, bytes, ...)
  if bytes > MOST_KIB * 1024 then error(TAKES_MORE, 3) end
  local ok, value = pcall(fn, ...)
  if not ok then error((string.gsub(value, "to '[%w.?]+'", "to '" .. name .. "'")), 3) end
  return value
end

--- Those that make of what there is something far larger, in one call.
local measured = { string = {}, table = {} }

function measured.string.format(...)
  local bytes = 0
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    if type(value) == "string" then bytes = bytes + #value end
  end
  return (call("format", string.format, bytes, ...)) -- no tail call, by which the line would be lost
end

function measured.table.concat(list, separator, ...)
  local bytes = 0
  for _, item in pairs(type(list) == "table" and list or {}) do
    bytes = bytes + #tostring(item) + #tostring(separator or "")
  end
  return (call("concat", table.concat, bytes, list, separator, ...))
end

--- A library without what may run for long in one call, where no hook ends it: patterns, above all.
local function new_library(name)
  local library, kept = {}, {}
  for _, key in ipairs(KEPT[name]) do
    library[key] = measured[name][key] or _G[name][key]
    if library[key] then kept[#kept + 1] = name .. "." .. key end
  end
  for key, value in pairs(_G[name]) do
    if type(value) == "function" and not library[key] then
      library[key] = function()
        error(("%s.%s is nothing for a configuration, which may use: %s")
          :format(name, key, table.concat(kept, ", ")), 2)
      end
    end
  end
  return library
end

--- What the file may use: functions that change nothing outside of it. Each file gets tables of its own.
local function new_environment()
  local env = { ipairs = ipairs, pairs = pairs, next = next, select = select, tonumber = tonumber, tostring = tostring,
    type = type, error = error, assert = assert, unpack = rawget(_G, "unpack"), math = {} }
  for key, value in pairs(math) do env.math[key] = value end
  env.math.randomseed = nil
  env.string, env.table = new_library "string", new_library "table"
  return env
end

local function compile(text, env)
  if text:byte() == 27 then return nil, NAME:sub(2) .. ":1: it is compiled, and only a text is read" end
  if not setfenv then return load(text, NAME, "t", env) end
  local chunk, message = loadstring(text, NAME)
  return chunk and setfenv(chunk, env), message
end

--- To be called before each instruction: raises once it takes too long or too much, at a line of the file. Doubling a
--- text takes two or three of them, so that fewer calls would come too late.
local function limits()
  local seconds, kib = os.clock() + MOST_SECONDS, collectgarbage "count" + MOST_KIB
  return function()
    local what = os.clock() > seconds and "it does not end"
      or collectgarbage "count" > kib and TAKES_MORE
    if what and debug.getinfo(2, "S").source == NAME then error(what, 2) end
  end
end

--- Calls a function while the methods of strings are those of a library. No garbage is collected meanwhile: finalizers
--- are the caller's, and may need the others. What is raised behind the function, as by Ctrl-C, is raised again.
local function with_methods(library, fn, ...)
  local strings, is_known, runs = getmetatable "", pcall(collectgarbage, "isrunning") -- which Lua 5.1 does not know
  local methods = strings.__index
  collectgarbage "stop"
  strings.__index = library
  local is_done, ok, value = pcall(fn, ...)
  strings.__index = methods
  if runs or not is_known then collectgarbage "restart" end
  if not is_done then error(ok, 0) end
  return ok, value
end

--- Runs it as a coroutine of its own, since a hook is one coroutine's; on LuaJIT it is everybody's, and its compiler
--- knows none.
local function run(chunk, library)
  local jit, thread = rawget(_G, "jit"), coroutine.create(chunk)
  if jit then jit.off(chunk, true) end
  local hook, mask, count = debug.gethook(thread)
  debug.sethook(thread, limits(), "", 1)
  local ok, value = with_methods(library, coroutine.resume, thread)
  debug.sethook(thread, hook, mask, count)
  if ok then return value end
  if type(value) ~= "string" then return nil, "it raises what is no text" end
  if value:find "interrupted!$" then error(value, 0) end -- LuaJIT has Ctrl-C raise in the coroutine, too
  return nil, value
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
local function split(message)
  local line, rest = message:match("^" .. NAME:sub(2) .. ":(%d+): (.*)$")
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
    local env = new_environment()
    local chunk, message = compile(text, env)
    if chunk then value, message = run(chunk, env.string) end
    why = message
    if why then line, why = split(why) end
  end
  if why then return nil, why, line end
  if type(value) ~= "table" then return nil, ("it gives a %s, not a table"):format(type(value)) end
  return value, text
end
