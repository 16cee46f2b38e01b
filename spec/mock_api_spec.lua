-- What the mock answers beside chats, byte for byte, and what it refuses in vLLM's words. curl is the client.
local asking = require "spec.support.asking"
local mock = require "lmm.mock"

local server, client

setup(function()
  server = assert(mock.start { delay = 0 })
  client = asking.new(server)
end)

teardown(function() client.stop() end)

-- An answer with what differs from run to run made the same.
local function settled(body)
  return (body:gsub('"id":"(%l+)%-%d+"', '"id":"%1-ID"'):gsub('"created":%d+', '"created":0'))
end

local function post(path, body) return client.post(body, path) end

local LISTED = '{"id":"%s-ID","object":"list","created":0,"model":"mock","data":[%s],"usage":{"prompt_tokens":%d,'
  .. '"total_tokens":%d,"completion_tokens":0,"prompt_tokens_details":null}}'

local answers = {
  { "/v1/embeddings", { input = "abc", dimensions = 2 },
    LISTED:format("embd", '{"index":0,"object":"embedding","embedding":[0.45703125,-0.05859375]}', 3, 3) },
  { "/v1/embeddings", { input = { "abc" }, dimensions = 2, encoding_format = "base64" },
    LISTED:format("embd", '{"index":0,"object":"embedding","embedding":"AADqPgAAcL0="}', 3, 3) },
  { "/score", { text_1 = "a b", text_2 = { "b a", "c" } }, LISTED:format("score",
    '{"index":0,"object":"score","score":1},{"index":1,"object":"score","score":0}', 10, 10) },
  { "/v1/score", { queries = { "a", "b" }, items = { "a b", "c d" } }, LISTED:format("score",
    '{"index":0,"object":"score","score":0.5},{"index":1,"object":"score","score":0}', 8, 8) },
  { "/rerank", { query = "a", documents = { "b", "a b", "a" }, top_n = 2 },
    '{"id":"rerank-ID","model":"mock","usage":{"prompt_tokens":8,"total_tokens":8},"results":['
    .. '{"index":2,"document":{"text":"a","multi_modal":null},"relevance_score":1},'
    .. '{"index":1,"document":{"text":"a b","multi_modal":null},"relevance_score":0.5}]}' },
  { "/detokenize", { tokens = { 257, 97, 10, 195, 164, 258 } }, '{"prompt":"<|im_start|>a\\n\195\164<|im_end|>"}' },
  { "/detokenize", '{"tokens":[]}', '{"prompt":""}' },
  { "/v1/completions", { prompt = "a b", max_tokens = 3 },
    '{"id":"cmpl-ID","object":"text_completion","created":0,"model":"mock","choices":[{"index":0,'
    .. '"text":"completion of: a ","logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,'
    .. '"prompt_logprobs":null,"prompt_token_ids":null}],"service_tier":null,"system_fingerprint":"lmm-mock",'
    .. '"usage":{"prompt_tokens":3,"total_tokens":6,"completion_tokens":3,"prompt_tokens_details":null},'
    .. '"kv_transfer_params":null}' },
  { "/v1/completions", { prompt = "a", max_tokens = 3, stream = true, stream_options = { include_usage = true } },
    (([[data: {HEAD"choices":[{"index":0,"text":"completion ",REST"finish_reason":null,TAIL}]}

data: {HEAD"choices":[{"index":0,"text":"of: ",REST"finish_reason":null,TAIL}]}

data: {HEAD"choices":[{"index":0,"text":"a",REST"finish_reason":null,TAIL}]}

data: {HEAD"choices":[{"index":0,"text":"",REST"finish_reason":"stop",TAIL}]}

data: {HEAD"choices":[],"usage":{"prompt_tokens":1,"total_tokens":4,"completion_tokens":3}}

data: [DONE]

]]):gsub("%u%u%u%u", { HEAD = '"id":"cmpl-ID","object":"text_completion","created":0,"model":"mock",',
      REST = '"logprobs":null,', TAIL = '"stop_reason":null,"prompt_token_ids":null,"token_ids":null' })) },
}

local refusals = {
  { "/v1/embeddings", {}, 400, "body%.input.*body%.messages" },
  { "/v1/embeddings", { input = 5 }, 400, "Input should be a valid string" },
  { "/v1/embeddings", '{"input":[]}', 400, "input must not be empty" },
  { "/v1/embeddings", { input = "a", encoding_format = "hex" }, 400, "Input should be 'float' or 'base64'" },
  { "/v1/embeddings", { input = "a", dimensions = 0 }, 400, "Dimensions must be between 1 and 4096, got 0" },
  { "/v1/embeddings", { input = "a", dimensions = 1.5 }, 400, "Input should be a valid integer" },
  { "/v1/embeddings", { input = "a", model = "x" }, 404, "The model `x` does not exist" },
  { "/v1/embeddings", { messages = { { role = "user", content = { { type = "image_url",
    image_url = { url = "data:image/png;base64,AA==" } } } } } }, 400, "Failed to load image" },
  { "/v1/embeddings", { input = "a", mock = { status = 503 } }, 503, "asked to answer 503" },
  { "/score", { text_1 = "a" }, 400, "body%.text_1" },
  { "/score", { text_1 = { "a", "b" }, text_2 = { "a", "b", "c" } }, 400, "must be either 1:1, 1:N or N:N" },
  { "/score", '{"text_1":[],"text_2":"a"}', 400, "At least one text element must be given" },
  { "/score", { text_1 = 5, text_2 = "a" }, 400, "Input should be a valid string" },
  { "/rerank", { query = "a" }, 400, "body%.documents" },
  { "/rerank", { documents = { "a" } }, 400, "body%.query" },
  { "/detokenize", {}, 400, "body%.tokens" },
  { "/detokenize", { tokens = "a" }, 400, "Input should be a valid list" },
  { "/detokenize", { tokens = { 99999 } }, 400, "Token id 99999 is out of vocabulary" },
  { "/v1/completions", {}, 400, "Either prompt or prompt_embeds must be provided and non%-empty" },
  { "/v1/completions", { prompt = "a", suffix = "b" }, 400, "suffix is not currently supported" },
  { "/v1/completions", { prompt = "a", max_tokens = 0 }, 400, "max_tokens must be at least 1, got 0%. %(parameter=" },
  { "/v1/completions", { prompt = "a", max_tokens = "x" }, 400, "Input should be a valid integer" },
  { "/v1/completions", { prompt = "a", stream_options = { include_usage = true } }, 400, "only be defined when" },
  { "/v1/completions", { prompt = "a", mock = { statos = 1 } }, 400, "did you mean 'status'" },
}

describe("what the mock answers beside chats", function()
  for i, row in ipairs(answers) do
    it(row[1] .. ", " .. i, function()
      local answer = post(row[1], row[2])
      assert.same({ 200, row[3] }, { answer.status, settled(answer.body) })
    end)
  end

  it("vectors are of the whole text, also far in", function()
    local first = post("/v1/embeddings", { input = "abc", dimensions = 100 }).body
    local other = post("/v1/embeddings", { input = "abd", dimensions = 100 }).body
    assert.equal(100, select(2, first:gsub("0%.%d", "")))
    assert.not_equal(first:match "%[[^%]]*%]%}", other:match "%[[^%]]*%]%}")
  end)

  it("a completion takes tokens and several prompts, echoes, and ends after 16 words", function()
    local answer = post("/v1/completions", { prompt = { "a", "b" }, echo = true }).body
    assert.matches('"index":0,"text":"acompletion of: a".*"index":1,"text":"bcompletion of: b"', answer)
    assert.matches('"text":"completion of: ab"', post("/v1/completions", { prompt = { 97, 98 } }).body)
    answer = post("/v1/completions", { prompt = ("a "):rep(20) }).body
    assert.matches('"text":"completion of: ' .. ("a "):rep(14) .. '".*"finish_reason":"length"', answer)
  end)
end)

describe("what the mock refuses beside chats", function()
  for i, row in ipairs(refusals) do
    it(row[1] .. ", " .. i .. ": " .. row[4]:gsub("%%", ""), function()
      local answer = post(row[1], row[2])
      assert.equal(row[3], answer.status, answer.body)
      assert.matches(row[4], answer.body)
      assert.matches('^{"error":{"message":".*","type":"[^"]+","param":.*,"code":' .. row[3] .. "}}$", answer.body)
    end)
  end
end)
