// Classifies photos: node classify.js [--server HOST:PORT] PHOTO...
//
// A call may take 10 s. What is refused because the server is busy or restarts (UNAVAILABLE, and
// nothing else) is asked again, as late as the server says.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const here = fileURLToPath(new URL(".", import.meta.url));
// Imports in our files start at the repository's root; google/rpc/status.proto lies beside this.
const includeDirs = [process.env.MENAGERIE_PROTO ?? fileURLToPath(new URL("../..", import.meta.url)), here];
const deadlineMs = 10_000;
const serviceConfig = {
  methodConfig: [
    {
      name: [{ service: "classify.v1.ClassifyService" }],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.1s",
        maxBackoff: "2s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
  loadBalancingConfig: [{ round_robin: {} }], // over all replicas that a name stands for
};

function connect(server) {
  const definition = protoLoader.loadSync("proto/classify/v1/classify.proto", {
    includeDirs,
    keepCase: true,
    longs: String,
    enums: String,
    defaults: true,
  });
  const { ClassifyService } = grpc.loadPackageDefinition(definition).classify.v1;
  return new ClassifyService(server, grpc.credentials.createInsecure(), {
    "grpc.service_config": JSON.stringify(serviceConfig),
  });
}

function classify(client, encoded) {
  const request = { image: { encoded }, top_k: 1 };
  return new Promise((resolve, reject) => {
    client.Classify(request, { deadline: Date.now() + deadlineMs }, (error, response) =>
      error ? reject(error) : resolve(response),
    );
  });
}

const { values, positionals } = parseArgs({
  options: { server: { type: "string", default: "127.0.0.1:50051" } },
  allowPositionals: true,
});
const client = connect(values.server);
for (const path of positionals) {
  try {
    const { predictions } = await classify(client, await readFile(path));
    console.log(`${path}\t${predictions[0].id}\t${predictions[0].score.toFixed(3)}`);
  } catch (error) {
    const id = error.metadata?.get("menagerie-request-id")[0] ?? "";
    console.error(`${path}\t${grpc.status[error.code] ?? error.code}: ${error.details ?? error.message} ${id}`);
    process.exitCode = 1;
  }
}
client.close();
