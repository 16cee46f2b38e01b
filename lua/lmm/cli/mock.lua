--- `lmm mock`: the built-in server that needs no model, until it is interrupted. It takes the arguments of
--- `vllm serve`, so that it can be run in its place.
local mock = {}

local function port(text)
  local number = text:find "^%d+$" and tonumber(text)
  if number and number <= 65535 then return number end
  return nil, ("'%s' is not a port: a number from 0 to 65535"):format(text)
end

local function delay(text)
  local number = tonumber(text)
  if number and number >= 0 and number < math.huge then return number end
  return nil, ("'%s' is not a number of seconds"):format(text)
end

local function count(text)
  local number = text:find "^%d+$" and tonumber(text)
  if number then return number end
  return nil, ("'%s' is not a number: 0, 1, 2 ..."):format(text)
end

local KINDS = { image = true, video = true, audio = true }

--- vLLM's other form of the limits: {"image": 2, "video": {"count": 1, ...}}.
local function limits(text)
  local json = require "lmm.json"
  local given, found = json.clean((json.decode(text))), {}
  for kind, limit in pairs(type(given) == "table" and given or { text }) do
    found[kind] = type(limit) == "table" and limit.count or limit
    if not KINDS[kind] or type(found[kind]) ~= "number" then
      return nil, ("'%s' is not a JSON object like {\"image\": 2}"):format(text)
    end
  end
  return found
end

-- Options of vLLM's that are taken and ignored, with the names of their values; false for a flag.
local IGNORED = {
  ["--host"] = "HOST", ["--tensor-parallel-size"] = "N", ["--pipeline-parallel-size"] = "N",
  ["--data-parallel-size"] = "N", ["--gpu-memory-utilization"] = "SHARE", ["--dtype"] = "TYPE", ["--seed"] = "N",
  ["--max-num-seqs"] = "N", ["--max-num-batched-tokens"] = "N", ["--chat-template"] = "FILE",
  ["--quantization"] = "NAME", ["--allowed-local-media-path"] = "DIR", ["--allowed-media-domains"] = "NAME",
  ["--tool-call-parser"] = "NAME",
  ["--reasoning-parser"] = "NAME", ["--mm-processor-kwargs"] = "JSON", ["--media-io-kwargs"] = "JSON",
  ["--trust-remote-code"] = false, ["--enforce-eager"] = false, ["--no-use-tqdm-on-load"] = false,
  ["--enable-auto-tool-choice"] = false, ["--enable-prefix-caching"] = false,
}

local DESCRIPTION = "Run a server on this machine that needs no model: it answers every question with what it received "
  .. "(the type, size and SHA-256 of each picture, the question), so that it shows whether a request arrived intact. "
  .. "Each request is logged on standard error. Ctrl-C ends it. The usual options of `vllm serve` are taken, most of "
  .. "which make no difference, so that `lmm mock MODEL` can be run in the place of `vllm serve MODEL`."

local EPILOG = [[
The field mock of a request asks for another answer or a fault:
   reply                        the text to answer with
   status, retry_after          an HTTP error
   fail_times, key              the same for the first requests with that key
   html, empty, not_json        a body that is no answer, where true
   first_delay, delay           seconds before the answer, and between pieces
   cut_after, end_after, reset_after, error_after
                                so many pieces, then the stream breaks

A line of the question calls a tool of the request:
   call NAME {"argument": 1}

Examples:
   lmm mock --port 8000
   lmm ask -i picture.jpg "What is shown in the image?"      in another terminal
   lmm ask -p 'mock={"status": 503}' -p retry=false "Busy?"  a fault on demand
   lmm mock --record http://gpu1:8000/v1 answers.jsonl       see doc/log.md
   lmm mock --replay answers.jsonl --port 8000
   lmm serve -- lmm mock org/model --start-delay 5 --log-lines 20]]

function mock.declare(parser)
  local command = parser:command("mock", DESCRIPTION, EPILOG)
  command:summary "Run a server that needs no model."
  command:usage "Usage: lmm mock [OPTION]... [MODEL]"
  command:argument("MODEL", "The model's name (default: mock)."):args "?"
  command:option("--port", "The port of 127.0.0.1 to listen on (default: a free one, which is printed)."):argname("N")
    :convert(port)
  command:option("--delay", "Seconds between the pieces of a streamed answer (default: 0.02)."):argname "SECONDS"
    :convert(delay)
  command:option("--model", "The model's name, which wins over MODEL. So does --served-model-name."):argname "NAME"
  command:option("--served-model-name"):argname("NAME"):hidden(true)
  command:option("--api-key", "Refuse requests without this key. Other users of this machine can see it, so invent"
    .. " one, or set $VLLM_API_KEY, which is taken, too."):argname "KEY"
  command:option("--max-model-len", "Refuse what has more tokens than N, which the list of models shows"
    .. " (default: 32768)."):argname("N"):convert(count)
  for kind in pairs(KINDS) do
    command:option("--limit-mm-per-prompt." .. kind, kind == "image" and "Refuse prompts with more pictures than N, as "
      .. "vLLM does; also .video and .audio, or all as JSON." or nil)
      :target("limit_" .. kind):argname("N"):convert(count):hidden(kind ~= "image")
  end
  command:option("--limit-mm-per-prompt"):target("limits"):argname("JSON"):convert(limits):hidden(true)
  command:option("--like", "The server to be like: vllm (default), llama.cpp, ollama, openai and other dialects.")
    :argname "NAME"
  command:option("--media-cache", "How many media to keep under their uuids, as vLLM does (default: 256).")
    :argname("N"):convert(count)
  command:option("--capacity", "What it can do at a time: batching:64, slots:1, reject:8 or collapse:32. An answer"
    .. " alone takes 0.1 s then."):argname "MODEL:N"
  command:option("--record", "Pass requests on to the server at URL, and its answers back; each goes into FILE, a line"
    .. " of JSON, without keys, media by their SHA-256."):argname({ "URL", "FILE" }):args(2)
  command:option("--replay", "Answer from such a FILE; a request that is not in it gets a 404 that says how it"
    .. " differs.")
    :argname "FILE"
  command:flag("--closest", "With --replay: answer what is not in it as what is most like it.")
  command:flag("--timing", "With --replay: take the time that the answers took.")
  command:flag("--no-tools", "Refuse tools, as vLLM does that was started without a parser for their calls.")
  command:option("--start-delay", "Listen only after so many seconds, as a server does that loads a model.")
    :argname("SECONDS"):convert(delay)
  command:option("--log-lines", "Print N lines of a log before that."):argname("N"):convert(count)
  command:flag("--fail-start", "Then end with an error instead of listening, as if memory ran out.")
  for names, value in pairs(IGNORED) do
    if value then command:option(names):argname(value):hidden(true) else command:flag(names):hidden(true) end
  end
end

--- The key that vLLM takes from its environment.
local function key_of_environment()
  local key = os.getenv "VLLM_API_KEY"
  return key ~= "" and key or nil
end

function mock.run(args)
  local given, record = args.limits or {}, args.record or {}
  local is_idle = (args.closest or args.timing) and not args.replay
  if is_idle then
    require "lmm.cli.console".misuse("%s goes with --replay FILE", args.closest and "--closest" or "--timing")
  end
  return require "lmm.mock".run({
    port = args.port, delay = args.delay, model = args.model or args.served_model_name or args.MODEL,
    api_key = args.api_key or key_of_environment(),
    max_model_len = args.max_model_len, limit_image = args.limit_image or given.image,
    limit_video = args.limit_video or given.video, limit_audio = args.limit_audio or given.audio, like = args.like,
    media_cache = args.media_cache, tools = not args.no_tools, capacity = args.capacity,
    upstream = record[1], record = record[2], replay = args.replay, closest = args.closest, timing = args.timing,
  }, { delay = args.start_delay, lines = args.log_lines, fails = args.fail_start })
end

return mock
