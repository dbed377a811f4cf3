package api

import (
	_ "embed"
	"net/http"
)

// OpenAPI is the description of the API for its users, in OpenAPI 3.1.
//
//go:embed openapi.yaml
var OpenAPI string

// writeOpenAPI answers GET /openapi.yaml.
func (c *call) writeOpenAPI() {
	c.writePlain(http.StatusOK, "application/yaml", []byte(OpenAPI))
}
