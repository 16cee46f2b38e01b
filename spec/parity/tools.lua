-- What a conversation with tools does, as cases of spec/parity/cases: rounds, tasks, time and cancelling on every host.
local assert = require "luassert"
local calling = require "spec.support.calling"
local lmm = require "lmm"
local replies = require "spec.support.replies"

local sleep, wait = calling.sleep, calling.wait

local function case(name, answers, more)
  more.name, more.replies = name, answers
  return more
end

--- A chat with a tool that waits; what it did, in order.
local function waiting_chat(client, opts, def)
  local chat = client:conversation(opts)
  return chat, calling.add_wait(chat, def)
end

local function joined(log) return table.concat(log, ", ") end

--- The request that came on the last connection.
local function last_request(server, count)
  server:wait("request", count)
  return (server:received(count):gsub("\\/", "/"))
end

return {
  case("tools run at once, and their results go back in order",
    { calling.whole(wait("a", 0.2), wait("b", 0.05)), replies.whole "done" }, {
      run = function(client)
        local chat, log = waiting_chat(client)
        local reply = assert(chat:ask "q")
        assert.same({ "done", 5, "begin a, begin b, end b, end a" }, { reply.text, #chat.messages, joined(log) })
      end,
      seen = function(server)
        assert.matches('"content":"a","role":"tool","tool_call_id":"c1"},{"content":"b",', last_request(server, 2))
      end,
    }),

  case("tools that are sequential run one after the other",
    { calling.whole(wait("a", 0.1), wait("b", 0.02)), replies.whole "done" }, {
      run = function(client)
        local chat, log = waiting_chat(client, nil, { sequential = true })
        assert(chat:ask "q")
        assert.equal("begin a, end a, begin b, end b", joined(log))
      end,
    }),

  case("a stream of several rounds gives its text, and its pieces tell of the calls",
    { calling.streamed("See. ", wait("a", 0.02)), replies.answer("So: ", "a") }, {
      run = function(client)
        local chat = waiting_chat(client)
        local next_piece, seen = chat:stream("q"):pieces(), {}
        local piece, kind = next_piece()
        while piece do
          if type(piece) == "table" then piece = piece.text or piece.name end
          if kind ~= "tool_calls" then seen[#seen + 1] = kind .. " " .. piece end
          piece, kind = next_piece()
        end
        assert.equal("text See. , tool_call wait, tool_result a, text So: , text a", joined(seen))
        assert.equal(4, #chat.messages)
      end,
    }),

  case("a tool that takes too long is cancelled, and the model told",
    { calling.whole(wait("a", 60), wait("b", 0.02)), replies.whole "done" }, {
      run = function(client)
        local chat, log = waiting_chat(client, { tool_timeout = 0.2 })
        assert(chat:ask "q")
        sleep(0.1)
        assert.equal("begin a, begin b, end b, cancelled a", joined(log))
      end,
      seen = function(server)
        assert.matches('"content":"error: the tool did not end within 0.2 s"', last_request(server, 2))
      end,
    }),

  case("the total holds for tools, too", { calling.whole(wait("a", 60)) }, {
    run = function(client)
      local chat = waiting_chat(client, { timeout = 0.3 })
      local _, message, err = chat:ask "q"
      assert.same({ "timeout", "total", message, 0 }, { err.kind, err.limit, err.message, #chat.messages })
    end,
  }),

  case("cancelling ends the tools that run, and what was done is kept",
    { calling.whole(wait("a", 60), wait("b", 0.02)), replies.whole "done" }, {
      run = function(client)
        local chat, log = waiting_chat(client)
        local result
        local task = lmm.go(function() result = { chat:ask "q" } end)
        sleep(0.3)
        chat:cancel()
        assert.same({ true }, { task:wait() })
        sleep(0.05)
        assert.equal("begin a, begin b, end b, cancelled a", joined(log))
        local err = result[3]
        assert.same({ "cancelled", 0, 3, "b" }, { err.kind, #chat.messages, #err.messages, err.messages[3].content })
        chat.messages = err.messages
        chat.tools:find("wait").run = function(args) return args.name end
        assert.equal("done", assert(chat:ask()).text)
        assert.equal(5, #chat.messages)
      end,
      seen = function(server)
        local request = last_request(server, 2)
        assert.matches('"tool_call_id":"c2"},{"content":"a","role":"tool","tool_call_id":"c1"}', request)
      end,
    }),

  case("what a tool raises is told, and so is what it does wrong",
    { calling.whole({ "raise" }, { "yield" }, { "raise", "[" }, { "none" }), replies.whole "done" }, {
      run = function(client)
        local chat = client:conversation()
        chat:tool({ name = "raise" }, function() error "no luck" end)
        chat:tool({ name = "yield" }, function() coroutine.yield() end) -- nginx has it go on, the others refuse it
        assert.equal("done", assert(chat:ask "q").text)
      end,
      seen = function(server)
        local request = last_request(server, 2)
        assert.matches('"content":"error: no luck"', request)
        assert.matches('"content":"error: the arguments of raise are wrong: they are no JSON', request)
        assert.matches("\"content\":\"error: there is no tool 'none'; the tools are: raise, yield\"", request)
      end,
    }),

  case("a tool may ask, too", { calling.whole { "ask" }, replies.whole "inner", replies.whole "outer" }, {
    run = function(client)
      local chat = client:conversation()
      chat:tool({ name = "ask" }, function() return assert(client:conversation():ask("inside")).text end)
      assert.equal("outer", assert(chat:ask "q").text)
    end,
    seen = function(server)
      assert.matches('"content":"inner","role":"tool"', last_request(server, 3))
    end,
  }),

  case("what a tool raises may end the exchange", { calling.whole({ "raise" }, wait("a", 60)) }, {
    run = function(client)
      local chat, log = waiting_chat(client, { on_tool_error = "raise" })
      chat:tool({ name = "raise" }, function()
        sleep(0.05)
        error("no luck", 0)
      end)
      local ok, raised = lmm.go(function() return chat:ask "q" end):wait()
      assert.same({ false, "no luck", 0 }, { ok, raised, #chat.messages })
      sleep(0.05)
      assert.equal("begin a, cancelled a", joined(log))
    end,
  }),
}
