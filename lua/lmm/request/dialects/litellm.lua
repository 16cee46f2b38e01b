--- LiteLLM's proxy: what it takes is for the server behind it to say.
return {
  name = "litellm",
  title = "LiteLLM",
  tool_media = "user", -- which every server behind it takes
  structured = { schema = { "response_format" }, choice = { "response_format", as = "object" },
    regex = { "structured_outputs", "regex" }, grammar = { "structured_outputs", "grammar" } },
}
