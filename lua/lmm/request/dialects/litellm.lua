--- LiteLLM's proxy: what it takes is for the server behind it to say.
return {
  name = "litellm",
  title = "LiteLLM",
  headers = { "x-litellm-version", "x-litellm-model-id", "x-litellm-call-id" },
}
