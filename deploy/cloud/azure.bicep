// itera-serve in Azure Container Apps, with an Azure Database for PostgreSQL. docs/cloud-azure.md has the commands and the cost.

@description('The image by digest')
param image string
param location string = resourceGroup().location
@description('The operator\'s token: at least 16 characters, as of `openssl rand -hex 16`')
@secure()
@minLength(16)
param token string
@secure()
@minLength(16)
param databasePassword string
@description('A delegated subnet for the database, and one of /27 or more for the apps, in one virtual network')
param databaseSubnet string
param appSubnet string
@description('The private DNS zone of the database, linked with that network')
param databaseZone string
@description('The addresses of the apps\' subnet, from which the ingress asks; X-Forwarded-For is trusted from there')
param appNetwork string = '10.0.0.0/16'

resource database 'Microsoft.DBforPostgreSQL/flexibleServers@2024-08-01' = {
  name: 'itera-${uniqueString(resourceGroup().id)}'
  location: location
  sku: { name: 'Standard_B1ms', tier: 'Burstable' }
  properties: {
    version: '17'
    administratorLogin: 'itera'
    administratorLoginPassword: databasePassword
    storage: { storageSizeGB: 32, autoGrow: 'Enabled' }
    backup: { backupRetentionDays: 14, geoRedundantBackup: 'Enabled' }
    network: {
      delegatedSubnetResourceId: databaseSubnet
      privateDnsZoneArmResourceId: databaseZone
      publicNetworkAccess: 'Disabled'
    }
  }
}

resource table 'Microsoft.DBforPostgreSQL/flexibleServers/databases@2024-08-01' = {
  parent: database
  name: 'itera'
}

resource environment 'Microsoft.App/managedEnvironments@2024-03-01' = {
  name: 'itera'
  location: location
  properties: {
    vnetConfiguration: { infrastructureSubnetId: appSubnet }
    zoneRedundant: true
  }
}

resource app 'Microsoft.App/containerApps@2024-03-01' = {
  name: 'itera-serve'
  location: location
  dependsOn: [table]
  properties: {
    managedEnvironmentId: environment.id
    configuration: {
      // Two revisions may share the requests by weight: a canary.
      activeRevisionsMode: 'Multiple'
      ingress: {
        external: true
        targetPort: 8000
        transport: 'http'
        allowInsecure: false
        traffic: [{ latestRevision: true, weight: 100 }]
      }
      secrets: [
        { name: 'token', value: token }
        { name: 'database-password', value: databasePassword }
      ]
    }
    template: {
      terminationGracePeriodSeconds: 45
      containers: [
        {
          name: 'itera-serve'
          image: image
          resources: { cpu: json('0.5'), memory: '1Gi' }
          env: [
            { name: 'ITERA_TRUSTED_PROXY', value: appNetwork }
            { name: 'ITERA_TOKEN', secretRef: 'token' }
            { name: 'ITERA_DATABASE', value: 'postgres://itera@${database.properties.fullyQualifiedDomainName}/itera?sslmode=verify-full' }
            { name: 'PGPASSWORD', secretRef: 'database-password' }
          ]
          probes: [
            { type: 'Startup', httpGet: { path: '/health', port: 8000 }, periodSeconds: 1, failureThreshold: 30 }
            { type: 'Readiness', httpGet: { path: '/ready', port: 8000 }, periodSeconds: 2 }
            { type: 'Liveness', httpGet: { path: '/health', port: 8000 }, periodSeconds: 10 }
          ]
        }
      ]
      scale: {
        minReplicas: 1
        maxReplicas: 4
        rules: [{ name: 'requests', http: { metadata: { concurrentRequests: '32' } } }]
      }
    }
  }
}

output address string = app.properties.configuration.ingress.fqdn
