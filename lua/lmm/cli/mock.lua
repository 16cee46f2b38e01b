--- `lmm mock`: the server that needs no model, until it is interrupted.
local mock = {}

local function port(text)
  local number = text:find "^%d+$" and tonumber(text)
  if number and number <= 65535 then return number end
  return nil, ("'%s' is not a port: a number from 0 to 65535"):format(text)
end

local function delay(text)
  local number = tonumber(text)
  if number and number >= 0 then return number end
  return nil, ("'%s' is not a number of seconds"):format(text)
end

function mock.declare(parser)
  local command = parser:command("mock", "Run a server on this machine that needs no model: it answers every question "
    .. "with what it received (the type, size and SHA-256 of each picture, the question), so that it shows whether a "
    .. "request arrived intact. Ctrl-C ends it.", [[
Examples:
   lmm mock --port 8000
   lmm ask -i picture.jpg "What is shown in the image?"      in another terminal]])
  command:summary "Run a server that needs no model."
  command:usage "Usage: lmm mock [--port N] [--delay SECONDS] [--model NAME]\n                [--api-key KEY]"
  command:option("--port", "The port to listen on, of 127.0.0.1 (default: a free one, which is shown)."):argname("N")
    :convert(port)
  command:option("--delay", "Seconds between the pieces of a streamed answer (default: 0.02)."):argname "SECONDS"
    :convert(delay)
  command:option("--model", "The model's name (default: mock)."):argname "NAME"
  command:option("--api-key", "Refuse requests without this key. Other users of this machine can see it, so invent"
    .. " one."):argname "KEY"
end

function mock.run(args)
  return require "lmm.mock.server".run {
    port = args.port, delay = args.delay, model = args.model, api_key = args.api_key,
  }
end

return mock
