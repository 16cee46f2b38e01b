--- The layout of lua/lmm: which room requires which, what is wrong about it, and a picture of it.
--
-- In:  the project's files, as a table of texts by path (`rooms.files` reads them).
-- Out: sentences that name what is wrong; the rooms and their arrows, as text or for graphviz.
--
-- A room is a folder of lua/lmm, and its init.lua is the only door; a module beside the rooms is a room of one file. A
-- file requires every module that a string in its code names: so names in tables count, names that are handed to a
-- program that is started, and those in a program's text. "lmm.cli." with a dot at its end means any file inside.

local shell = require "spec.support.shell"

local rooms = {}

--- From what a user starts down to what moves bytes. A room may require those below, and those of its own layer as long
--- as no circle comes of it. The picture leaves out the arrows to the rooms that every one may use.
local LAYERS = {
  { "cli", "nvim" },
  { "lmm", "meta" }, -- lua/lmm/init.lua, and what an editor knows of it
  { "grid" },
  { "mock", "server", "bulk", "config" },
  { "client", "conversation", "events", "stream" },
  { "call" },
  { "answer", "log", "pages", "request", "transport", "loop" },
  { "form", "frames", "http", "part", "prepare", "reply" },
  { "compiled", "json", "options", "errors", "paths", "schema", "text", "types", "version", is_common = true },
  { "core", "curl", "digest", "files", "tcp", "vips" }, -- in C
}

local layer_of, is_common = {}, { core = true }
for i, names in ipairs(LAYERS) do
  for _, name in ipairs(names) do layer_of[name], is_common[name] = i, names.is_common or is_common[name] end
end

--- The keys of a table, in order.
local function sorted(set)
  local keys = {}
  for key in pairs(set) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- ---- reading

--- The files that matter: the library's, and those outside that may use its doors alone.
---@return table<string, string> texts
function rooms.files()
  local files = {}
  for path in shell.output "find lua bin plugin examples src Makefile *.rockspec -type f 2>/dev/null":gmatch "[^\n]+" do
    if path:find "%.lua$" or path:find "^bin/" or path:find "%.c$" or path:find "%.rockspec$" or path == "Makefile" then
      files[path] = shell.read(path)
    end
  end
  return files
end

--- Where a string in quotes ends.
local function closing_quote(text, start)
  local at = start + 1
  while true do
    local stop = text:find("[\\\n" .. text:sub(start, start) .. "]", at) or #text + 1
    if text:sub(stop, stop) ~= "\\" then return stop end
    at = stop + 2
  end
end

--- Calls `fn(string, before)` for each string in a text of Lua, `before` being the code that leads to it; what is in
--- comments is no string.
local function each_string(text, fn)
  local at, code_from = 1, 1
  while true do
    local start = text:find("[-\"'%[]", at)
    if not start then return end
    local comment = text:match("^%-%-()", start)
    local level, long = text:match("^%[(=*)%[()", comment or start)
    if level then
      local last, after = text:find("]" .. level .. "]", long, true)
      if not comment then fn(text:sub(long, (last or 0) - 1), text:sub(code_from, start - 1)) end
      at = (after or #text) + 1
      code_from = at
    elseif comment then
      at = text:find("\n", comment, true) or #text + 1
      code_from = at
    elseif text:find("^[\"']", start) then
      local stop = closing_quote(text, start)
      fn(text:sub(start + 1, stop - 1), text:sub(code_from, start - 1))
      at = stop + 1
      code_from = at
    else
      at = start + 1
    end
  end
end

--- The modules that a text of Lua names: true where it requires one, false where it may only be a word.
---@return table<string, boolean>
local function modules_in(text)
  local found = {}
  each_string(text, function(word, before)
    local is_required = before:find "require%s*%(?%s*$" ~= nil
    if word:find "^lmm%.[%w_.]+$" or is_required and word == "lmm" then found[word] = found[word] or is_required end
    for _, name in word:gmatch "require%s*%(?%s*([\"'])(lmm[%w_.]*)%1" do
      if name == "lmm" or name:find "^lmm%." then found[name] = true end
    end
  end)
  return found
end

--- "lmm.call" for "lmm.call.retry", without its "lmm.".
local function room_of(module)
  return module:match "^lmm%.([^.]+)" or "lmm"
end

--- What a rockspec sets.
local function read_rockspec(text)
  local values = {}
  local setfenv = rawget(_G, "setfenv")
  local chunk = setfenv and setfenv(assert(loadstring(text)), values) -- luacheck: ignore 113
    or assert(load(text, "=rockspec", "t", values))
  chunk()
  return values
end

--- The parts of lmm.vips and of what it loads, which no rockspec lists: they are built by make, for what the compiler
--- is told about libvips. As "src/vips.c" and so on.
local function vips_sources(makefile)
  local sources = {}
  for _, name in ipairs { "VIPS", "ENGINE" } do
    local list = makefile:match("\n" .. name .. " *:= *([^\n]*)") or ""
    for part in list:gmatch "%S+" do sources[#sources + 1] = "src/" .. part .. ".c" end
  end
  return #sources > 0 and sources or nil
end

---@class lmm.spec.Layout
---@field modules table<string, string>  their paths, by name; "C" for those in C
---@field uses table[]                   { path =, room =, name = } for each module that a file requires
---@field lost table[]                   the same for modules that do not exist

--- Finds the modules and who requires them.
---@return lmm.spec.Layout
local function layout_of(files, rockspec)
  local modules, uses, lost = {}, {}, {}
  for path in pairs(files) do
    local name = path:match "^lua/(lmm.*)%.lua$"
    if name then modules[(name:gsub("/init$", ""):gsub("/", "."))] = path end
  end
  for name, source in pairs(rockspec.build.modules) do
    if type(source) == "table" then modules[name] = "C" end
  end
  if vips_sources(files.Makefile) then modules["lmm.vips"] = "C" end
  for _, path in ipairs(sorted(files)) do
    if path:find "%.lua$" or path:find "^bin/" then
      local own = path:match "^lua/(lmm.*)%.lua$"
      for name, is_required in pairs(modules_in(files[path])) do
        local use = { path = path, name = name, room = own and room_of((own:gsub("/", "."):gsub("%.init$", ""))) }
        if modules[name] or name:find "%.$" then
          uses[#uses + 1] = use
        elseif is_required then
          lost[#lost + 1] = use
        end
      end
    end
  end
  return { modules = modules, uses = uses, lost = lost }
end

--- Which rooms a room requires.
---@return table<string, table<string, string>>  to each of them the path of a file that does
local function arrows_of(layout)
  local arrows = {}
  for name in pairs(layout.modules) do arrows[room_of(name)] = {} end
  for _, use in ipairs(layout.uses) do
    local to = room_of(use.name)
    if use.room and use.room ~= to then arrows[use.room][to] = use.path end
  end
  return arrows
end

-- ---- what is wrong

local function check_doors(layout, say)
  for _, use in ipairs(layout.uses) do
    local room = room_of(use.name)
    if use.name:find "^lmm%.[^.]+%." and use.room ~= room then
      say("%s requires %s, which is inside lmm.%s", use.path, use.name, room)
    end
  end
  for _, use in ipairs(layout.lost) do say("%s requires %s, which does not exist", use.path, use.name) end
end

local function check_order(arrows, say)
  for _, room in ipairs(sorted(arrows)) do
    if not layer_of[room] then say("%s has no place in the order of rooms", room) end
    for to, path in pairs(arrows[room]) do
      if (layer_of[room] or 0) > (layer_of[to] or math.huge) then
        say("%s requires %s, which is above it (%s)", room, to, path)
      end
    end
  end
end

local function check_circles(arrows, say)
  local state, trail = {}, {} -- "open" while what a room leads to is being looked at
  local function visit(room)
    state[room] = "open"
    trail[#trail + 1] = room
    for _, to in ipairs(sorted(arrows[room])) do
      if state[to] == "open" then
        local first = #trail
        while trail[first] ~= to do first = first - 1 end
        say("a circle: %s -> %s", table.concat(trail, " -> ", first), to)
      elseif not state[to] then
        visit(to)
      end
    end
    trail[#trail] = nil
    state[room] = "done"
  end
  for _, room in ipairs(sorted(arrows)) do
    if not state[room] then visit(room) end
  end
end

local function check_rockspec(files, rockspec, layout, say)
  local listed, compiled = rockspec.build.modules, {}
  for _, name in ipairs(sorted(layout.modules)) do
    local path = layout.modules[name]
    if path ~= "C" and listed[name] ~= path then
      say("the rockspec has %s for %s, not %s", listed[name] or "nothing", name, path)
    end
  end
  for name, source in pairs(listed) do
    for _, path in ipairs(type(source) == "table" and source.sources or { source }) do
      compiled[path] = true
      if not files[path] then say("the rockspec has %s for %s, which does not exist", path, name) end
    end
  end
  for _, path in ipairs(vips_sources(files.Makefile) or {}) do compiled[path] = true end
  for _, path in ipairs(sorted(files)) do
    if path:find "^src/.*%.c$" and not compiled[path] then say("%s is in no module of the rockspec", path) end
  end
end

--- The Makefile has one list of parts for each module in C: "CORE := error buf ...".
local function check_makefile(makefile, rockspec, say)
  for name, source in pairs(rockspec.build.modules) do
    if type(source) == "table" then
      local list = name:match "([^.]+)$":upper()
      local parts = {}
      for part in (makefile:match("\n" .. list .. " *:= *([^\n]*)") or ""):gmatch "%S+" do
        parts["src/" .. part .. ".c"] = true
      end
      for _, path in ipairs(source.sources) do
        if not parts[path] then say("%s is in %s, but not in the Makefile's %s", path, name, list) end
        parts[path] = nil
      end
      for path in pairs(parts) do say("%s is in the Makefile's %s, but not in %s", path, list, name) end
    end
  end
end

local function read(files)
  local rockspec = read_rockspec(files["lmm-scm-1.rockspec"])
  local layout = layout_of(files, rockspec)
  return layout, arrows_of(layout), rockspec
end

--- What is wrong with a tree, a sentence each, in order; nothing where it is as it should be.
---@param files table<string, string>
---@return string[]
function rooms.faults(files)
  local layout, arrows, rockspec = read(files)
  local faults = {}
  local function say(...) faults[#faults + 1] = string.format(...) end
  check_doors(layout, say)
  check_order(arrows, say)
  check_circles(arrows, say)
  check_rockspec(files, rockspec, layout, say)
  check_makefile(files.Makefile, rockspec, say)
  table.sort(faults)
  return faults
end

-- ---- the picture

--- The rooms that there are, by layers; those without a place stand last.
local function rows(arrows)
  local list = {}
  for _, names in ipairs(LAYERS) do
    local row = {}
    for _, name in ipairs(names) do
      if arrows[name] then row[#row + 1] = name end
    end
    if #row > 0 then list[#list + 1] = row end
  end
  for _, room in ipairs(sorted(arrows)) do
    if not layer_of[room] then list[#list + 1] = { room } end
  end
  return list
end

--- Rooms and arrows as text: a paragraph for each layer, a room with what is inside, and what it requires.
---@param files table<string, string>
---@return string
function rooms.text(files)
  local layout, arrows = read(files)
  local inside = {}
  for name in pairs(layout.modules) do
    local room, file = name:match "^lmm%.([^.]+)%.(.+)$"
    if room then
      inside[room] = inside[room] or {}
      inside[room][file] = true
    end
  end
  local out = {}
  for _, names in ipairs(rows(arrows)) do
    for _, room in ipairs(names) do
      local is_in_c = layout.modules["lmm." .. room] == "C"
      out[#out + 1] = ("%-14s %s"):format(room .. (inside[room] and "/" or ""), is_in_c and "in C"
        or "-> " .. table.concat(sorted(arrows[room]), " "))
      if inside[room] then out[#out + 1] = "               [" .. table.concat(sorted(inside[room]), " ") .. "]" end
    end
    out[#out + 1] = ""
  end
  return table.concat(out, "\n")
end

--- The same for graphviz, without the arrows to what every room may use.
---@param files table<string, string>
---@return string
function rooms.dot(files)
  local layout, arrows = read(files)
  local out = { "digraph lmm {", '  node [shape=box, fontname="sans-serif"];' }
  for _, names in ipairs(rows(arrows)) do
    out[#out + 1] = '  { rank=same; "' .. table.concat(names, '"; "') .. '" }'
  end
  for _, room in ipairs(sorted(arrows)) do
    local path = layout.modules["lmm." .. room] or ""
    if path:find "/init%.lua$" then out[#out + 1] = ('  "%s" [style=bold];'):format(room) end
    for _, to in ipairs(sorted(arrows[room])) do
      if not is_common[to] then out[#out + 1] = ('  "%s" -> "%s";'):format(room, to) end
    end
  end
  out[#out + 1] = "}\n"
  return table.concat(out, "\n")
end

return rooms
