--- OpenRouter, which hands requests on to many providers.
return {
  name = "openrouter",
  title = "OpenRouter",
  hosts = { "^openrouter%.ai$" },
  forms = { audio = "input_audio" },
  structured = { heeds = {}, schema = { "response_format" }, choice = { "response_format", as = "object" } },
}
