--- OpenRouter, which hands requests on to many providers.
return {
  name = "openrouter",
  title = "OpenRouter",
  forms = { audio = "input_audio" },
  structured = { heeds = {}, schema = { "response_format" }, choice = { "response_format", as = "object" } },
}
