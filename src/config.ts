/** `aegis.yaml`, or the `mcpServers` / `servers` of a client's own JSON file, read once at start. */

export interface StdioServer {
  readonly kind: "stdio";
  readonly command: string;
  readonly args: readonly string[];
  /** Added to the allow-list of `gateway/servers/environment.ts`. */
  readonly env: ReadonlyMap<string, string>;
  /** Absolute; undefined inherits the gateway's. */
  readonly cwd: string | undefined;
}

export interface HttpServer {
  readonly kind: "http";
  /** Without userinfo: a secret there has become the Authorization header. */
  readonly url: URL;
  readonly headers: ReadonlyMap<string, string>;
}

export type ServerConfig = (StdioServer | HttpServer) & {
  readonly key: string;
  /** Milliseconds a `tools/call` may take at the server; most clients give up at 60 s. */
  readonly timeout: number;
  /** Milliseconds from start to the answer of `initialize`. */
  readonly startTimeout: number;
  /** Calls at one time per client connection. */
  readonly concurrency: number;
};

export interface Config {
  /** Absolute path of the file; null for `wrap`. */
  readonly file: string | null;
  readonly agent: string | null;
  /** Absolute path of the policies folder; null means `AEGIS_HOME/policies`. */
  readonly policies: string | null;
  readonly servers: ReadonlyMap<string, ServerConfig>;
  readonly http: { readonly host: string; readonly port: number } | null;
  readonly hold: {
    /** Milliseconds a call waits on the wire. */
    readonly wait: number;
    /** Milliseconds until an approval nobody decided expires. */
    readonly expires: number;
  };
  readonly limits: {
    /** Bytes of one frame, in either direction and on either transport. */
    readonly frame: number;
    readonly sessions: number;
    /** Milliseconds without a request after which an HTTP session is closed. */
    readonly sessionIdle: number;
  };
  /** Methods of no known revision or extension that may pass. */
  readonly methods: readonly string[];
}
