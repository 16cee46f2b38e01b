-- The log in Neovim: what the editor asks is in it, and a log that cannot be used is a notification, once.
local mock = require "lmm.mock"
local nvim = require "spec.support.nvim"
local shell = require "spec.support.shell"

local plugin, server

setup(function() plugin, server = nvim.plugin(), assert(mock.start { delay = 0 }) end)

teardown(function()
  server.stop()
  os.execute("rm -rf " .. plugin)
end)

-- A current nvim that is not Debian's does not look where Debian puts modules.
local DEBIAN = shell.output "find /usr/lib -path '*/lua/5.1/luasql/sqlite3.so'":match "^(.-)luasql/sqlite3.so"
local INIT = ("package.cpath = package.cpath .. ';%s?.so'\nlmm = require 'lmm'\n"):format(DEBIAN)

for _, editor in ipairs(nvim.editors()) do
  local function with(fn)
    if not editor.program then pending "it is not there" end
    nvim.with({ program = editor.program, plugin = plugin, url = server.url, init = INIT }, fn)
  end

  describe("Neovim with a log (" .. editor.name .. ")", function()
    it("logs what tasks ask, and answers from it", function()
      with(function(ed)
        ed:lua [[
          local client = lmm.connect { log = "log.db", cache = true, model = "mock" }
          answers = {}
          for i = 1, 2 do
            lmm.go(function()
              local reply = assert(client:conversation { temperature = 0 }:ask "What?")
              answers[i] = reply.text .. tostring(reply.cached)
            end):wait()
          end]]
        assert.same({ "question: What?nil", "question: What?true" }, ed:wait_for("answers",
          "return #answers == 2 and answers"))
        assert.equal(2, ed:lua "return #require('lmm.log').open('log.db'):list()")
      end)
    end)

    it("is told once that the log cannot be used", function()
      with(function(ed)
        ed:lua [[
          local client = lmm.connect { log = "init.lua", model = "mock" }
          for _ = 1, 2 do assert(client:conversation():ask "What?") end]]
        local said = ed:wait_for("a notification", "return said[1] and said")
        assert.equal(1, #said)
        assert.matches("the log 'init.lua' cannot be used: it is no SQLite database", said[1][1])
      end)
    end)
  end)
end
