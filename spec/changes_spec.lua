-- What is changed of a conversation that goes on: chat:set, chat:question, chat:fork(client).
local lmm = require "lmm"
local mock = require "lmm.mock"

local server, other, client

setup(function()
  server, other = assert(mock.start { delay = 0 }), assert(mock.start { delay = 0, model = "second" })
  client = lmm.connect { base_url = server.url, retry = false }
end)

teardown(function()
  client:close()
  server.stop()
  other.stop()
end)

describe("chat:set", function()
  it("sets a field for all that follows, and nil takes it away", function()
    local chat = client:conversation()
    chat:set("mock", { reply = "set" })
    assert.equal("set", assert(chat:ask "a").text)
    assert.equal("set", assert(chat:fork():ask "a").text)
    chat:set("mock", nil)
    assert.equal("question: b\nturn 2, after 2 messages", assert(chat:ask "b").text)
  end)

  it("takes what is ours, as `ask` does; one form takes the place of another", function()
    local chat = client:conversation()
    chat:set("schema", { type = "object", properties = { a = { type = "integer" } }, required = { "a" } })
    assert.equal("number", type(assert(chat:ask "a").value.a))
    chat:set("choice", { "yes", "no" })
    assert.equal("string", type(assert(chat:ask "b").value))
    chat:set("choice", nil)
    assert.is_nil(assert(chat:ask "c").value)
  end)

  it("changes the system message, puts one in and takes it away", function()
    local chat = client:conversation { system = "one" }
    assert(chat:ask "a")
    local fork = chat:fork()
    chat:set("system", "two")
    assert.same({ "system", "two" }, { chat.messages[1].role, chat.messages[1].content })
    chat:set("system", nil)
    assert.equal("user", chat.messages[1].role)
    chat:set("system", "three")
    assert.same({ "three", 3 }, { chat.messages[1].content, #chat.messages })
    assert.equal("one", fork.messages[1].content)
  end)

  it("refuses at once what cannot be, and leaves all as it was", function()
    local chat = client:conversation { temperature = 0 }
    for _, row in ipairs { { "timeout", "soon", "timeout" }, { "messages", {}, "keeps its own messages" },
      { "shema", {}, "did you mean 'schema'" }, { "max_rounds", 0, "whole number" }, { 1, 2, "takes a name" },
      { "system", 1, "system is a string" }, { "model", 1, "model must be a string" },
      { "schema", { type = "nonsense" }, "schema" } } do
      assert.error_matches(function() chat:set(row[1], row[2]) end, row[3])
    end
    assert(chat:ask "a")
  end)
end)

describe("chat:question", function()
  it("gives the parts of a question, which can be asked again", function()
    local picture = lmm.image "spec/media/picture.png"
    local chat = client:conversation()
    assert(chat:ask("What?", picture))
    assert(chat:ask "Really?")
    assert.same({ "Really?" }, chat:question(-1))
    assert.same({ "Really?" }, chat:question(2))
    local parts = chat:question(1)
    assert.equal("What?", parts[1])
    assert.equal(picture, parts[2])
    assert.is_nil(chat:question(3))
    assert.is_nil(client:conversation():question(-1))
    chat:edit(1, (table.unpack or unpack)(parts)) -- luacheck: ignore
    assert.matches("^image 1: image/png.*\nquestion: What%?$", assert(chat:ask()).text)
    assert.error_matches(function() chat:question() end, "takes the number of a question, not a nil")
  end)

  it("gives a raw part as it is", function()
    local part = { type = "text", text = "a", cache_control = { type = "ephemeral" } }
    local chat = client:conversation()
    assert(chat:ask(part))
    assert.same({ part }, chat:question(1))
  end)
end)

describe("chat:fork(client)", function()
  it("goes on at another server", function()
    local second = lmm.connect { base_url = other.url, retry = false }
    local chat = client:conversation { mock = { reply = "x" } }
    assert(chat:ask("a", lmm.image "spec/media/picture.png"))
    local fork = chat:fork(second)
    local reply = assert(fork:ask "b")
    assert.same({ "second", "x" }, { reply.model, reply.text })
    fork:set("mock", nil)
    assert.matches("^image 1: image/png", assert(fork:ask "b").text)
    assert.equal("mock", assert(chat:ask "c").model)
    assert.error_matches(function() chat:fork "http://127.0.0.1" end, "takes a client, not a string")
    second:close()
  end)
end)
