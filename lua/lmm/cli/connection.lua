--- How a command reaches its server: the options --url, -H and --dialect come in; options of lmm.connect go out.
local connection = {}

--- For argparse. A value may be a secret, so it stands in no message.
local function header(word)
  local name, value = word:match "^([^:%s]+):[ \t]*(.-)[ \t]*$"
  if name and value ~= "" then return { name = name, value = value } end
  return nil, ("-H takes 'Name: value', not '%s'"):format(word:match "^[^:]*" .. (word:find ":" and ":..." or ""))
end

function connection.declare(command)
  command:option("--url", "The server's base URL, which mostly ends in /v1 (default: $OPENAI_BASE_URL, else"
    .. " http://127.0.0.1:8000/v1). Given several times, one that answers is asked."):argname("URL"):count "*"
  command:option("-H --header", "A header of each request, such as 'X-Team: vision'. May be given several times. The"
    .. " key is better in $OPENAI_API_KEY."):argname("'NAME: VALUE'"):count("*"):convert(header)
  command:option("--dialect", "What the server is, where that cannot be found out: vllm, llama.cpp, ollama, generic ..."
    .. " (default: by its URL or its list of models)."):argname "NAME"
end

function connection.options(args)
  local headers = {}
  for _, given in ipairs(args.header) do headers[given.name] = given.value end
  return { base_url = args.url[2] and args.url or args.url[1], headers = headers, dialect = args.dialect }
end

return connection
