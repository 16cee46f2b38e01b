-- The log in nginx: its workers write to one, and answer from it.
local logs = require "lmm.log"
local mock = require "lmm.mock"
local nginx = require "spec.support.nginx"
local shell = require "spec.support.shell"

local folder = shell.output "mktemp -d":match "%S+"
local path = folder .. "/log.db"
local model, server

setup(function()
  shell.run("chmod 777 %s", folder)
  model, server = assert(mock.start { delay = 0 }), nginx.start { workers = 2 }
end)

teardown(function()
  server:stop()
  model.stop()
  os.execute("rm -rf " .. folder)
end)

describe("nginx with a log", function()
  it("logs what it asks, and answers from it", function()
    local program = ([[
      local client = require("lmm").connect { base_url = %q, log = %q, cache = true, model = "mock" }
      local reply = assert(client:conversation { temperature = 0 }:ask "What?")
      client:close()
      return reply.text, tostring(reply.cached)
    ]]):format(model.url, path)
    assert.equal("question: What?\nnil", server:run(program))
    for _ = 1, 9 do assert.equal("question: What?\ntrue", server:run(program)) end
    local log = assert(logs.open(path))
    assert.equal(10, #log:list { search = "what" })
    log:close()
  end)
end)
