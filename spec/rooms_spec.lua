-- The layout of the library: rooms are entered by their doors, arrows lead down and in no circle, and the lists of
-- modules agree with the files. The checker is tried on small trees first.
local rooms = require "spec.support.rooms"

local ROCKSPEC = [[
package = "lmm"
build = { type = "builtin", modules = {
  ["lmm.core"] = { sources = { "src/buf.c", "src/core.c" } },
  ["lmm.curl"] = { sources = { "src/buf.c", "src/curl.c" } },
  %s
} }]]

--- A tree in order, with these files changed: to another text, or taken away by `false`. A file that is added stands in
--- the rockspec, too.
local function tree(changes)
  local files = {
    ["lua/lmm/init.lua"] = 'return { new = function() return require("lmm.client").new() end }',
    ["lua/lmm/cli/init.lua"] = 'local lmm = require "lmm"\nreturn require("lmm.cli." .. arg[1])',
    ["lua/lmm/cli/ask.lua"] = "local lmm = require 'lmm'",
    ["lua/lmm/client/init.lua"] = 'local calls = require "lmm.call"\nlocal models = require "lmm.client.models"',
    ["lua/lmm/client/models.lua"] = "",
    ["lua/lmm/call/init.lua"] = 'local errors = require("lmm.errors")',
    ["lua/lmm/call/retry.lua"] = "",
    ["lua/lmm/errors.lua"] = 'local text = require "lmm.text"',
    ["lua/lmm/text.lua"] = 'local core = require "lmm.core"',
    ["bin/lmm"] = '#!/usr/bin/env lua\nos.exit(require "lmm.cli"(arg))',
    ["src/buf.c"] = "", ["src/core.c"] = "", ["src/curl.c"] = "",
    ["Makefile"] = "LUA ?= lua\nCORE := buf core\nCURL    := buf curl\n",
  }
  for path, text in pairs(changes) do files[path] = text or nil end
  local lines = {}
  for path in pairs(files) do
    local name = path:match "^lua/(.*)%.lua$"
    if name then lines[#lines + 1] = ("[%q] = %q,"):format(name:gsub("/init$", ""):gsub("/", "."), path) end
  end
  files["lmm-scm-1.rockspec"] = changes["lmm-scm-1.rockspec"] or ROCKSPEC:format(table.concat(lines, "\n"))
  return files
end

local IN_CALL = "%s requires lmm.call.retry, which is inside lmm.call"

describe("the checker of the layout", function()
  it("finds nothing in a tree that is in order", function() assert.same({}, rooms.faults(tree {})) end)

  for _, row in ipairs {
    { "a file behind the door, from another room", "lua/lmm/client/models.lua", 'local r = require "lmm.call.retry"',
      IN_CALL },
    { "one from a module beside the rooms", "lua/lmm/init.lua", "return require('lmm.call.retry')", IN_CALL },
    { "one from the command", "bin/lmm", 'require "lmm.call.retry"', IN_CALL },
    { "one from an example", "examples/a.lua", "local r = require ( 'lmm.call.retry' )", IN_CALL },
    { "one from a plugin", "plugin/lmm.lua", "require[[lmm.call.retry]]", IN_CALL },
    { "one in a table of names", "lua/lmm/client/models.lua", 'require(({ a = "lmm.call.retry" })[name])', IN_CALL },
    { "one in the text of a program", "lua/lmm/client/models.lua", [==[run [[require("lmm.call.retry").go()]]]==],
      IN_CALL },
    { "one after comments and quotes", "lua/lmm/client/models.lua",
      [==[local a = "\"" -- it's
        --[[ " ]] local b, c = '"\\', [[']] local d = require "lmm.call.retry"]==], IN_CALL },
    { "one after a quote in quotes", "lua/lmm/client/models.lua", [[local a = "\"" local b = require "lmm.call.retry"]],
      IN_CALL },
    { "any file behind a door", "lua/lmm/client/models.lua", 'require("lmm.call." .. name)',
      "%s requires lmm.call., which is inside lmm.call" },
    { "a module that does not exist", "lua/lmm/client/models.lua", 'require "lmm.calls"',
      "%s requires lmm.calls, which does not exist" },
    { "an arrow up", "lua/lmm/call/retry.lua", 'local lmm = require "lmm"',
      { "a circle: call -> lmm -> client -> call", "call requires lmm, which is above it (%s)" } },
    { "a circle in a layer", "lua/lmm/text.lua", 'local errors = require "lmm.errors"',
      "a circle: errors -> text -> errors" },
    { "a room without a place", "lua/lmm/attic/init.lua", "", "attic has no place in the order of rooms" },
    { "a file in C without a module", "src/vips.c", "", "%s is in no module of the rockspec" },
  } do
    it("finds " .. row[1], function()
      local expected = type(row[4]) == "table" and row[4] or { row[4] }
      for i, text in ipairs(expected) do expected[i] = text:format(row[2]) end
      assert.same(expected, rooms.faults(tree { [row[2]] = row[3] }))
    end)
  end

  it("passes over words, comments, and what is no module", function()
    assert.same({}, rooms.faults(tree { ["lua/lmm/client/models.lua"] = [==[
      -- require "lmm.call.retry"
      --[[ require "lmm.call.retry" ]] --[=[ "lmm.call.retry" ]=]
      local a, b = "use lmm.call.retry", "lmm.connect"
      local c = require "lmm_other"]==] }))
  end)

  it("finds modules that the rockspec does not have, and files that it has in vain", function()
    local files = tree {}
    files["lua/lmm/json.lua"], files["lua/lmm/call/retry.lua"], files["src/curl.c"] = "", nil, nil
    assert.same({
      "the rockspec has lua/lmm/call/retry.lua for lmm.call.retry, which does not exist",
      "the rockspec has nothing for lmm.json, not lua/lmm/json.lua",
      "the rockspec has src/curl.c for lmm.curl, which does not exist",
    }, rooms.faults(files))
  end)

  it("finds a module under another's name", function()
    local files = tree {}
    files["lmm-scm-1.rockspec"] = files["lmm-scm-1.rockspec"]:gsub('"lua/lmm/text.lua"', '"lua/lmm/errors.lua"')
    assert.same({ "the rockspec has lua/lmm/errors.lua for lmm.text, not lua/lmm/text.lua" }, rooms.faults(files))
  end)

  it("finds what the Makefile and the rockspec do not agree about", function()
    assert.same({
      "src/buf.c is in lmm.core, but not in the Makefile's CORE",
      "src/utf8.c is in the Makefile's CORE, but not in lmm.core",
    }, rooms.faults(tree { Makefile = "\nCORE := utf8 core\nCURL := buf curl\n" }))
  end)

  it("draws rooms and arrows, layer by layer", function()
    local files = tree {}
    local text = rooms.text(files)
    assert.matches("cli/ +%-> lmm\n +%[ask%]\n\nlmm +%-> client\n\nclient/ +%-> call\n +%[models%]\n", text)
    assert.matches("\n\nerrors +%-> text\ntext +%-> core\n\ncore +in C\ncurl +in C\n", text)
    local dot = rooms.dot(files)
    assert.matches('^digraph lmm {.*"client" %-> "call";.*}\n$', dot)
    assert.falsy(dot:find('-> "errors"', 1, true)) -- which every room may use
  end)
end)

describe("the layout of the library", function()
  it("is as it should be", function()
    local faults = rooms.faults(rooms.files())
    assert(#faults == 0, table.concat(faults, "\n"))
  end)
end)
